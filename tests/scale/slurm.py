"""A Slurm cluster of one node, with its login node, that a proof starts on loopback and stops again.

It keeps no accounts: those need a database daemon. dagster-slurm then waits until the controller has forgotten a
finished job, which is set to two seconds here.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.scale.deployment import installed
from tests.scale.services import free_port, listens, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "sshd", "ssh-keygen")

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
SlurmdPort={d}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
MinJobAge=2
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/key.pub
PasswordAuthentication no
StrictModes no
UsePAM no
PermitRootLogin yes
Subsystem sftp internal-sftp
SetEnv SLURM_CONF={folder}/slurm.conf
"""


def programs() -> dict[str, str]:
    """The programs that are needed and where they are; Debian puts daemons where users do not look."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return {name: found for name in PROGRAMS if (found := shutil.which(name, path=path))}


def _end_connections(folder: Path) -> None:
    """End the connections that dagster-slurm keeps open for a while; they name the key in `folder`."""
    for commandline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder).encode() in commandline.read_bytes():
                os.kill(int(commandline.parent.name), signal.SIGTERM)


def finished(environment: dict[str, str]) -> list[str]:
    """States of the jobs that have ended, in order."""
    log = Path(environment["SLURM_CONF"]).with_name("jobs.log")
    lines = log.read_text().splitlines() if log.exists() else []
    return [field.split("=")[1] for line in lines for field in line.split() if field.startswith("JobState=")]


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """A running cluster; the environment that dagster-slurm and the pipeline need to use it."""
    have = programs()
    folder = Path(tempfile.mkdtemp(prefix="mpta-slurm-"))
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    ports = {name: free_port() for name in ("ctld", "d", "ssh")}
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(folder=folder, host=host, user=user, ctld=ports["ctld"], d=ports["d"], cpus=os.cpu_count())
    )
    (folder / "sshd.conf").write_text(_SSHD.format(folder=folder, port=ports["ssh"]))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    for key in ("key", "host_key"):
        subprocess.run([have["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, locks its unprivileged half in
    # What a user prepares once on a real cluster: an environment with the project, and a script that activates it.
    environment = folder / "environment"
    (environment / "env" / "bin").mkdir(parents=True)
    python = environment / "env" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (environment / "activate.sh").write_text(
        "".join(f'export {name}="{value}"\n' for name, value in installed().items())
    )
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_end_connections, folder)
        own = os.environ | {"SLURM_CONF": str(conf)}

        def daemon(*command: str | Path) -> None:
            process = subprocess.Popen(
                command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)

        daemon(
            have["munged"],
            "--foreground",
            "--force",
            f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log",
            f"--seed-file={folder}/munge.seed",
        )
        wait_until((folder / "munge.socket").exists, "munge")
        daemon(have["slurmctld"], "-D")
        wait_until(lambda: listens(ports["ctld"]), "slurmctld")
        daemon(have["slurmd"], "-D")
        daemon(have["sshd"], "-D", "-f", folder / "sshd.conf")
        wait_until(lambda: listens(ports["ssh"]), "sshd")
        wait_until(
            lambda: (
                "idle"
                in subprocess.run([have["sinfo"], "-h"], env=own, capture_output=True, text=True, check=False).stdout
            ),
            "the Slurm node",
        )
        yield {
            "MPTA_CLUSTER": "slurm",
            "MPTA_SLURM_ENVIRONMENT": str(environment),
            "SLURM_CONF": str(conf),
            "HOME": str(folder),  # dagster-slurm keeps its connections' sockets there
            "SLURM_SSH_HOST": "127.0.0.1",
            "SLURM_SSH_PORT": str(ports["ssh"]),
            "SLURM_SSH_USER": user,
            "SLURM_SSH_KEY": str(folder / "key"),
            "SLURM_SSH_HOST_KEY_CHECKING": "off",
            "SLURM_REMOTE_BASE": str(folder / "jobs"),
            "SLURM_PARTITION": "main",
            "SLURM_MEM": "500M",
            "SLURM_STATUS_POLL_INTERVAL": "0.5",
        }
