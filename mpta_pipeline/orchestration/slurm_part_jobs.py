"""Jobs for parts of a step on Slurm: one array job, submitted by ssh to the login node as `dagster-slurm` reaches it.

dagster-slurm itself runs one job at a time and waits for it in the main thread, so the array is submitted with
`sbatch`. Its state is read with `squeue` by the name of the job, which needs no accounting.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mpta_pipeline.orchestration.cluster import PASSED_ON, slurm_settings
from mpta_pipeline.pipeline.part_jobs import PartJobs

OPTIONS = "--cpus-per-task=2 --mem=4G"
"""Default of `MPTA_SLURM_PART_OPTIONS`: a part has a peak of about 1 GB."""
_SECONDS = 60
_JOB = re.compile(r"^\d+(;\S+)?$", re.MULTILINE)
_OURS = '--user="$(id -un)" --name={name}'


@dataclass(frozen=True)
class SlurmArray:
    """The array job of a step.

    Attributes:
        jobs: The step and its jobs.
        queue: Partition, time limit, account and so on, as dagster-slurm reads them from `SLURM_…`.
        folder: Folder on the cluster for the jobs' output.
        shell: Runs a command on the login node; gives its output, and raises if it fails.
    """

    jobs: PartJobs
    queue: Any
    folder: str
    shell: Callable[[str], str]

    @property
    def output(self) -> str:
        """Where the output of the jobs is."""
        return f"{self.folder}/parts"

    def unfinished(self) -> dict[str, int]:
        """State → number of the tasks of the array that `squeue` lists."""
        ours = _OURS.format(name=self.jobs.name)
        listed = self.shell(f"squeue --noheader --array {ours} --format='%T %r'")
        states: Counter[str] = Counter()
        for line in listed.splitlines():
            state, _, why = line.strip().partition(" ")
            if re.fullmatch("[A-Z_]+", state):  # login nodes print other lines, too
                states[f"{state.lower()} ({why})" if state == "PENDING" and why != "None" else state.lower()] += 1
        return dict(states)

    def submit(self) -> None:
        """Submit the array."""
        words = " ".join(f"--{name}={shlex.quote(value)}" for name, value in self._options().items())
        extra = os.environ.get("MPTA_SLURM_PART_OPTIONS") or OPTIONS
        command = f"mkdir -p {shlex.quote(self.output)} && sbatch --parsable {words} {extra} <<'MPTA_PART'\n"
        answer = self.shell(f"{command}{self.script()}MPTA_PART\n")
        if not _JOB.search(answer):
            raise RuntimeError(f"sbatch gave no number of a job: {answer.strip()[-300:]}")

    def _options(self) -> dict[str, str]:
        queue = self.queue
        given = {
            "job-name": self.jobs.name,
            "array": f"1-{self.jobs.n}",
            "output": f"{self.output}/%x-%A_%a.log",
            "partition": queue.partition,
            "time": queue.time_limit,
            "qos": queue.qos,
            "reservation": queue.reservation,
            "account": queue.account,
        }
        return {name: str(value) for name, value in given.items() if value}

    def script(self) -> str:
        """The script of the array. It gets paths, and no keys; `MPTA_PART` tells activate.sh to start no server."""
        environment = os.environ["MPTA_SLURM_ENVIRONMENT"]
        lines = [f"export {name}={shlex.quote(os.environ[name])}" for name in PASSED_ON if name in os.environ]
        words = self.jobs.command('"$SLURM_ARRAY_TASK_ID"')
        return "\n".join(
            [
                "#!/bin/bash",
                *lines,
                f"export MPTA_PART=$SLURM_ARRAY_TASK_ID/{self.jobs.n}",
                f". {shlex.quote(f'{environment}/activate.sh')}",
                f"exec {shlex.quote(f'{environment}/env/bin/python')} -m mpta_pipeline.cli {words}",
                "",
            ]
        )

    def cancel(self) -> None:
        """Cancel the array."""
        self.shell(f"scancel {_OURS.format(name=self.jobs.name)}")

    def failures(self) -> list[str]:
        """None: without accounting Slurm forgets how a job ended."""
        return []


@contextmanager
def opened(jobs: PartJobs) -> Iterator[SlurmArray]:
    """The array job of a step, with a connection to the login node."""
    from dagster_slurm.helpers.ssh_pool import SSHConnectionPool

    slurm = slurm_settings()
    with SSHConnectionPool(slurm.ssh) as pool:
        yield SlurmArray(jobs, slurm.queue, str(slurm.remote_base), lambda command: pool.run(command, timeout=_SECONDS))
