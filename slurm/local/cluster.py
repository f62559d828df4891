#!/usr/bin/env python3
"""A real Slurm of virtual nodes on this machine, for tests and for a first try: needs no root, systemd or cgroups.

    cluster.py up FOLDER [--nodes 2] [--gpus 8]     start it, wait until all nodes are idle, print how to use it
    cluster.py down FOLDER                          cancel its jobs, end its daemons; FOLDER/log stays

Each folder is a cluster of its own, with its own ports, its own key and sockets; several may run at once.
Jobs run as the user who calls `up`, with all the hardware of this machine: Slurm counts the nodes' GPUs, cores and
memory (which only exist on paper), and gives every job its share of them, but nothing holds a process to its share.
The GPUs' files lead to /dev/null. All nodes have the address of this machine's name, as a rule on loopback
(NodeAddr in `scontrol show node NAME`); the names n1, n2, ... do not resolve.

All nodes are in two partitions: a job in `urgent` preempts jobs in `batch` (the default), which are requeued.
Standard library only. Exit codes: 0; 1, a daemon did not start or did not end; 2, Slurm is missing or an argument
is wrong.
"""

from __future__ import annotations

import argparse
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

BIN = Path(__file__).resolve().parent / "bin"
PACKAGES = "slurmctld slurmd slurm-client munge"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "squeue", "scancel", "scontrol", "sbatch", "srun")
# Folders of system programs, which the PATH of an ordinary user may lack.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"

CLUSTER_NAME = "virtual"
# What a node of eight H100s has. These are numbers in Slurm's books and nothing more.
CORES, MEMORY_MB = 128, 2_000_000
# A unix socket's path has at most 107 bytes; the longest is spool/nNNN/nNNN_JOB.STEP.
LONGEST_FOLDER = 64
START_SECONDS, CLIENT_SECONDS = 60.0, 20.0
# More than KillWait for jobs; of daemons and of what Slurm leaves, how long SIGTERM has, and how long all of it takes.
JOB_SECONDS, KILL_SECONDS, STOP_SECONDS = 10.0, 5.0, 30.0


class ClusterError(Exception):
    """One line for the person at the terminal, and the exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Folder:
    """Where a cluster's files are."""

    path: Path

    @property
    def conf(self) -> Path:
        return self.path / "slurm.conf"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def pids(self) -> Path:
        return self.path / "pid"

    @property
    def socket(self) -> Path:
        return self.path / "munge.sock"

    def environment(self) -> dict[str, str]:
        """The caller's environment, in which Slurm's commands speak to this cluster and `sacct` is the stand-in."""
        path = f"{BIN}:{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
        # Settings of a job or a site around this one would reach the daemons and the clients.
        own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        return own | {"SLURM_CONF": str(self.conf), "PATH": path}

    def client(self, *command: str) -> str:
        """Standard output of a Slurm command; ClusterError where it fails or hangs, as all do without slurmctld."""
        try:
            done = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, timeout=CLIENT_SECONDS, check=True
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{' '.join(command)}: no answer in {CLIENT_SECONDS:.0f} s") from error
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"{' '.join(command)}: {str(error.stderr).strip()}") from error
        return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser, down_parser = commands.add_parser("up"), commands.add_parser("down")
    for command in (up_parser, down_parser):
        command.add_argument("folder", type=Path)
    up_parser.add_argument("--nodes", type=int, default=2)
    up_parser.add_argument("--gpus", type=int, default=8, help="of each node")
    options = parser.parse_args(arguments)
    folder = Folder(options.folder.resolve())
    try:
        if options.command == "up":
            up(folder, options.nodes, options.gpus)
        else:
            down(folder)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def up(folder: Folder, nodes: int, gpus: int) -> None:
    """Start a cluster in the folder, and print the two lines that a shell needs to use it."""
    check(folder, nodes, gpus)
    write_configuration(folder, nodes, gpus)
    try:
        start_daemons(folder, nodes)
        wait_idle(folder, nodes)
    except BaseException:
        down(folder)
        raise
    print(f"# {nodes} nodes of {gpus} GPUs. To use them:")
    print(f"export SLURM_CONF={folder.conf}")
    print(f"export PATH={BIN}:$PATH")


def check(folder: Folder, nodes: int, gpus: int) -> None:
    """ClusterError unless a cluster can start in the folder."""
    if not 1 <= nodes <= 250 or gpus < 1:
        raise ClusterError("--nodes must be 1 to 250, --gpus at least 1", exit_code=2)
    if len(os.fsencode(folder.path)) > LONGEST_FOLDER:
        raise ClusterError(
            f"{folder.path}: longer than {LONGEST_FOLDER} bytes, too long for unix sockets in it", exit_code=2
        )
    path = folder.environment()["PATH"]
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        raise ClusterError(f"{', '.join(missing)}: not installed; apt-get install {PACKAGES}", exit_code=2)
    if daemons(folder):
        raise ClusterError(f"{folder.path}: already up; `down` ends it", exit_code=2)


def write_configuration(folder: Folder, nodes: int, gpus: int) -> None:
    """Write Slurm's and munge's files, after those of an earlier cluster have gone."""
    clear(folder)
    names = [f"n{i}" for i in range(1, nodes + 1)]
    for directory in (folder.logs, folder.pids, folder.path / "gpu", *(folder.path / "spool" / name for name in names)):
        directory.mkdir(parents=True, exist_ok=True)
    for i in range(gpus):
        # A gres without files leaves the nodes INVAL, and one with plain files slurmd does not start.
        (folder.path / "gpu" / f"gpu{i}").symlink_to("/dev/null")
    ports = free_ports(1 + nodes)
    folder.conf.write_text(slurm_conf(folder, names, gpus, ports))
    files = f"{folder.path}/gpu/gpu" + ("0" if gpus == 1 else f"[0-{gpus - 1}]")
    (folder.path / "gres.conf").write_text("".join(f"NodeName={name} Name=gpu File={files}\n" for name in names))
    # Read even where no plugin uses cgroups; `disabled` is fatal in Slurm 22.05.
    (folder.path / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    key = folder.path / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


def slurm_conf(folder: Folder, names: Sequence[str], gpus: int, ports: Sequence[int]) -> str:
    """The text of slurm.conf."""
    path, user, here = folder.path, user_name(), socket.gethostname()
    address = own_address()
    hardware = f"Sockets=1 CoresPerSocket={CORES} ThreadsPerCore=1 RealMemory={MEMORY_MB} Gres=gpu:{gpus}"
    node_lines = "\n".join(
        f"NodeName={name} NodeHostname={here} NodeAddr={address} Port={port} {hardware} State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    )
    return f"""\
ClusterName={CLUSTER_NAME}
SlurmctldHost={here}({address})
SlurmctldPort={ports[0]}
# Listen on the address of this machine's name alone, which as a rule is on loopback.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for its old credential to expire: 120 s by default.
AuthInfo=cred_expire=5,socket={folder.socket}

StateSaveLocation={path}/state
SlurmdSpoolDir={path}/spool/%n
SlurmctldPidFile={folder.pids}/slurmctld
SlurmdPidFile={folder.pids}/slurmd.%n
SlurmctldLogFile={folder.logs}/slurmctld.log
SlurmdLogFile={folder.logs}/slurmd.%n.log

# Nothing that needs root or cgroups. A process whose parent was killed is still in its step's process group;
# proctrack/linuxproc, which goes from parent to child, would let it live on.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true

# Cores and memory that this machine does not have.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={MEMORY_MB // CORES}
GresTypes=gpu

# Everything that a test waits for comes soon; what it asks about ended jobs is remembered.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
KillWait=5
OverTimeLimit=0
MinJobAge=86400
SlurmdTimeout=60
InactiveLimit=0
# A node that was set DOWN stays so, as broken hardware would.
ReturnToService=1

PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{node_lines}
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
"""


def own_address() -> str:
    """The address of this machine's name, where Slurm's daemons listen."""
    name = socket.gethostname()
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        raise ClusterError(f"{name}: this machine's name has no address; add it to /etc/hosts", exit_code=2) from error


def user_name() -> str:
    """The user whose jobs and daemons these are."""
    return pwd.getpwuid(os.geteuid()).pw_name


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the range out of which Linux gives ports to connections."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = random.randint(20000, 32000)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("", port))
            except OSError:
                continue
            ports.append(port)
    return ports


def start_daemons(folder: Folder, nodes: int) -> None:
    """Start munged, slurmctld and the nodes' slurmds; each puts itself into the background once it can."""
    path = folder.path
    # --force: a folder that others may not enter, such as a test's, is all right.
    munged = ["munged", "--force", "--num-threads=2", f"--key-file={path}/munge.key", f"--socket={folder.socket}"]
    munged += [
        f"--pid-file={folder.pids}/munged",
        f"--seed-file={path}/munge.seed",
        f"--log-file={folder.logs}/munged.log",
    ]
    start(folder, munged)
    start(folder, ["slurmctld", "-c", "-f", str(folder.conf)])
    for i in range(1, nodes + 1):
        start(folder, ["slurmd", "-f", str(folder.conf), "-N", f"n{i}"])


def start(folder: Folder, command: Sequence[str]) -> None:
    """Run a daemon's program, which returns when the daemon is in the background."""
    environment = folder.environment()
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    log = folder.logs / "start.log"
    with log.open("ab") as output:
        # A pipe instead of a file would stay open in the daemon.
        done = subprocess.run(
            [program, *command[1:]], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    if done.returncode != 0:
        raise ClusterError(f"{command[0]} did not start: {last_line(log)} (more in {folder.logs})")


def wait_idle(folder: Folder, nodes: int) -> None:
    """Wait until Slurm calls all nodes idle."""
    end = time.monotonic() + START_SECONDS
    while True:
        idle = folder.client("sinfo", "--noheader", "--partition=batch", "--states=idle", "--format=%D").split()
        if idle == [str(nodes)]:
            return
        if time.monotonic() > end or len(daemons(folder)) < 2 + nodes:
            raise ClusterError(f"{(idle or ['0'])[0]} of {nodes} nodes became idle; the reason is in {folder.logs}")
        time.sleep(0.1)


def down(folder: Folder) -> None:
    """Cancel the jobs, end the daemons that `up` started and what is left of jobs; keep the logs alone."""
    nodes = len(list(folder.path.glob("spool/*")))
    # Where a daemon is dead Slurm cannot end jobs, and waiting for it is in vain.
    if nodes and len(daemons(folder)) >= 2 + nodes:
        try:
            cancel_jobs(folder)
        except ClusterError as error:
            print(f"{error}; their processes are killed", file=sys.stderr)
    for program in ("slurmd", "slurmctld", "munged"):
        end_processes(partial(daemons, folder, program))
    end_processes(partial(job_processes, folder))
    clear(folder)


def cancel_jobs(folder: Folder) -> None:
    """Cancel all jobs and wait until Slurm has ended their processes."""
    folder.client("scancel", f"--user={user_name()}")
    end = time.monotonic() + JOB_SECONDS
    while folder.client("squeue", "--noheader", "--format=%A").split():
        if time.monotonic() > end:
            raise ClusterError(f"{folder.path}: jobs are there {JOB_SECONDS:.0f} s after they were cancelled")
        time.sleep(0.1)


def end_processes(find: Callable[[], Iterable[int]]) -> None:
    """End the processes that `find` finds until it finds none: SIGTERM, and SIGKILL after KILL_SECONDS."""
    started = time.monotonic()
    asked: set[int] = set()
    while pids := set(find()):
        waited = time.monotonic() - started
        if waited > STOP_SECONDS:
            raise ClusterError(f"processes {pids} do not end")
        for pid in pids if waited > KILL_SECONDS else pids - asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if waited > KILL_SECONDS else signal.SIGTERM)
        asked |= pids
        time.sleep(0.05)


def daemons(folder: Folder, program: str = "") -> list[int]:
    """Process ids of the folder's running daemons: all, or those of one program.

    Found by their command lines: a daemon writes the file with its id after its start, and removes it before its end.
    """
    own = {str(folder.conf).encode(), f"--socket={folder.socket}".encode()}
    programs = {program} if program else {"slurmd", "slurmctld", "munged"}
    found = []
    for pid in processes():
        name, *arguments = proc(pid, "cmdline").split(b"\0")
        if os.path.basename(name).decode(errors="replace") in programs and own & set(arguments):
            found.append(pid)
    return found


def job_processes(folder: Folder) -> Iterator[int]:
    """Ids of processes that this cluster's nodes started for jobs, and of the slurmstepds above them."""
    conf, cluster = f"SLURM_CONF={folder.conf}".encode(), f"SLURM_CLUSTER_NAME={CLUSTER_NAME}".encode()
    for pid in processes():
        variables = proc(pid, "environ").split(b"\0")
        # A shell that uses the cluster has its SLURM_CONF too, but is on none of its nodes.
        on_node = cluster in variables and any(variable.startswith(b"SLURMD_NODENAME=") for variable in variables)
        if conf in variables and (on_node or proc(pid, "cmdline").startswith(b"slurmstepd:")):
            yield pid


def processes() -> list[int]:
    """Ids of all processes of this machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def proc(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty if the process is none, another user's, or dead and not yet waited for."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def clear(folder: Folder) -> None:
    """Remove what a cluster keeps in its folder, besides its logs."""
    for directory in ("pid", "gpu", "state", "spool"):
        shutil.rmtree(folder.path / directory, ignore_errors=True)
    for pattern in ("slurm.conf", "gres.conf", "cgroup.conf", "munge.*"):
        for file in folder.path.glob(pattern):
            file.unlink()


def last_line(file: Path) -> str:
    """The last line of a text file."""
    return (file.read_text(errors="replace").strip().splitlines() or ["nothing was said"])[-1]


if __name__ == "__main__":
    sys.exit(main())
