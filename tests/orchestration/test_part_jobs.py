"""Jobs of a cluster that make parts of a step: submitted once, waited for, cancelled with the run, and never needed."""

import subprocess
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration import part_jobs as loop
from mpta_pipeline.orchestration import slurm_part_jobs
from mpta_pipeline.orchestration.slurm_part_jobs import SlurmArray
from mpta_pipeline.pipeline import part_jobs
from mpta_pipeline.pipeline.part_jobs import PartJobs

JOBS = PartJobs(Node("scores", "m|t"), 4, 64, "0123")


class Cluster:
    """Jobs whose states are given, look by look; an exception is raised."""

    output = "/logs"

    def __init__(self, *looks, failures=()):
        self.looks, self.did, self._failures = list(looks), [], list(failures)

    def unfinished(self):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, BaseException):
            raise look
        return look

    def submit(self):
        self.did.append("submit")

    def cancel(self):
        self.did.append("cancel")

    def failures(self):
        return self._failures


@pytest.fixture
def said(monkeypatch):
    """What is said, with whether it is a warning; nothing waits."""
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    lines = []
    with part_jobs.heard_by(lambda *line: lines.append(line)):
        yield lines


def run(cluster):
    @contextmanager
    def opened():
        yield cluster

    loop.run(JOBS, "Slurm", opened)
    return cluster.did


def test_jobs_are_submitted_and_waited_for(said):
    assert run(Cluster({}, {"pending": 4}, {"running": 1}, {})) == ["submit"]
    assert said == [(f"scores [m|t]: 4 jobs on Slurm make 64 chunks ({JOBS.name}; output: /logs)", False)]


def test_jobs_of_a_run_that_was_killed_are_waited_for_and_not_submitted_again(said):
    assert run(Cluster({"running": 3}, {"running": 3}, {})) == []
    assert "jobs of an earlier run" in said[0][0] and "3 running" in said[0][0]


def test_a_run_that_is_cancelled_cancels_its_jobs(said):
    cluster = Cluster({}, {"running": 4}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(cluster)
    assert cluster.did == ["submit", "cancel"]


def test_a_cluster_that_answers_again_is_waited_for(said):
    assert run(Cluster({}, RuntimeError("no route"), RuntimeError("no route"), {"running": 1}, {})) == ["submit"]


def test_a_cluster_that_does_not_answer_is_given_up_with_its_jobs(said):
    assert run(Cluster({}, RuntimeError("no route to host"))) == ["submit", "cancel"]
    assert said[-1][1] and "does not answer" in said[-1][0] and "no route to host" in said[-1][0]


def test_a_cluster_that_takes_no_jobs_is_no_failure_of_the_step(said):
    cluster = Cluster({})
    cluster.submit = lambda: (_ for _ in ()).throw(RuntimeError("sbatch: error: invalid partition specified: cpu"))
    assert run(cluster) == []
    assert said[-1][1] and "invalid partition specified: cpu" in said[-1][0]


def test_what_the_cluster_says_of_failed_jobs_is_said(said):
    run(Cluster({}, {}, failures=["job x failed: out of memory"]))
    assert said[-1] == ("scores [m|t]: job x failed: out of memory", True)


def test_a_configuration_that_cannot_be_used_stops_the_step(said):
    @contextmanager
    def opened():
        raise ConfigError("no run launcher for Ray", variable="MPTA_CLUSTER", remedy="unset it")
        yield

    with pytest.raises(ConfigError, match="no run launcher"):
        loop.run(JOBS, "Ray", opened)


def test_long_waits_are_told_now_and_then(said, monkeypatch):
    now = iter(range(0, 10_000, 200))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(now))
    run(Cluster({}, *[{"pending (Resources)": 4}] * 4, {}))
    assert [text for text, _ in said[1:]] and "4 pending (Resources), after" in said[1][0]


def test_without_a_cluster_nothing_is_set_up(monkeypatch):
    monkeypatch.delenv("MPTA_CLUSTER", raising=False)
    with loop.on_cluster(None):
        assert part_jobs.submitter() is None
    monkeypatch.setenv("MPTA_CLUSTER", "slurm")
    log = SimpleNamespace(info=[].append, warning=[].append)
    with loop.on_cluster(SimpleNamespace(log=log)):
        assert part_jobs.submitter() is not None


# --- Slurm ----------------------------------------------------------------------------------------------------------

# What Slurm 22.05 prints: --array lists each task; a login node greets everybody.
SQUEUE = (
    "Welcome to the cluster\nPENDING Resources\nPENDING Priority\nRUNNING None\nCOMPLETING None\nPENDING Resources\n"
)


@pytest.fixture
def array(monkeypatch, tmp_path):
    """An array job whose login node is this machine's shell, with an sbatch that answers what it is given."""
    monkeypatch.setenv("MPTA_SLURM_ENVIRONMENT", "/shared/an environment")
    monkeypatch.setenv("MPTA_DATA_DIR", "/shared/the data")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    queue = SimpleNamespace(partition="cpu", time_limit="01:00:00", qos=None, reservation="", account="my project")
    asked = []

    def shell(command):
        asked.append(command)
        program = (
            'sbatch() { printf "%s\\n" "$@" > ' + f"{tmp_path}/arguments; cat > {tmp_path}/script; echo '12;main'; }}\n"
        )
        done = subprocess.run(["bash", "-c", program + command], capture_output=True, text=True, check=True)
        return done.stdout

    made = SlurmArray(JOBS, queue, f"{tmp_path}/jobs", shell)
    return made, asked, tmp_path


def test_an_array_job_has_a_task_per_part_the_queue_and_no_keys(array):
    made, asked, folder = array
    made.submit()
    arguments = (folder / "arguments").read_text().splitlines()
    assert arguments == [
        "--parsable",
        f"--job-name={JOBS.name}",
        "--array=1-4",
        f"--output={folder}/jobs/parts/%x-%A_%a.log",
        "--partition=cpu",
        "--time=01:00:00",
        "--account=my project",
        "--cpus-per-task=2",
        "--mem=4G",
    ]
    script = (folder / "script").read_text()
    assert script == made.script() and script.startswith("#!/bin/bash\n")
    paths = "export MPTA_DATA_DIR='/shared/the data'\nexport MPTA_PART=$SLURM_ARRAY_TASK_ID/4\n"
    assert f"{paths}. '/shared/an environment/activate.sh'\n" in script
    assert script.endswith('chunks scores --task t --model m --part "$SLURM_ARRAY_TASK_ID"/4\n')
    assert "secret-key" not in script + asked[0]
    assert (folder / "jobs" / "parts").is_dir()
    assert subprocess.run(["bash", "-n", folder / "script"], check=False).returncode == 0


def test_options_of_sbatch_come_last(array, monkeypatch):
    monkeypatch.setenv("MPTA_SLURM_PART_OPTIONS", "--partition=small --mem=1G")
    made, _, folder = array
    made.submit()
    assert (folder / "arguments").read_text().splitlines()[-2:] == ["--partition=small", "--mem=1G"]


def test_an_answer_without_a_job_is_not_taken_for_one(array):
    made, _, _ = array
    silent = SlurmArray(JOBS, made.queue, made.folder, lambda command: "sbatch: error: Batch job submission failed\n")
    with pytest.raises(RuntimeError, match="Batch job submission failed"):
        silent.submit()


def test_the_states_of_an_array_are_counted_whatever_the_login_node_prints_beside_them():
    array = SlurmArray(JOBS, None, "", lambda command: SQUEUE)
    assert array.unfinished() == {
        "completing": 1,
        "pending (Priority)": 1,
        "pending (Resources)": 2,
        "running": 1,
    }
    assert SlurmArray(JOBS, None, "", lambda command: "Welcome to the cluster\n").unfinished() == {}


def test_only_jobs_of_this_name_and_user_are_looked_at_and_cancelled():
    asked = []
    array = SlurmArray(JOBS, None, "", lambda command: asked.append(command) or "")
    array.unfinished()
    array.cancel()
    assert all(f'--user="$(id -un)" --name={JOBS.name}' in command for command in asked)
    assert slurm_part_jobs.OPTIONS and len(asked) == 2
