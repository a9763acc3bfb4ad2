"""A real Slurm on this machine, for tests: one controller and three nodes with fake GPUs.

All daemons are those of the distribution. They listen on loopback only. Each node is a container
made with ``unshare``: it has its own host name, process ids, /dev and folder for temporary files.
The nodes have device files named like GPUs. All but one confine each job to those that it got. The
machine of the tests itself plays the login node, which has no GPU.

Nothing computes on these devices: a test double in the copy of the project does (slurm_case.py).

The configuration must be in /etc/slurm, because commands inside a job find it nowhere else.
"""

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

ETC = Path("/etc/slurm")
MARK = "# written by tests/slurm_cluster.py\n"
REQUIRED = "MDKD_REQUIRE_SLURM"  # if 1, a test fails where it would be skipped
COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "unshare", "setpriv")
DEVICES_CGROUP = Path("/sys/fs/cgroup/devices")

# Jobs are confined by the numbers of a device. Each of these can be opened, and no job needs it.
STAND_INS = ("fuse", "autofs", "loop-control", "net/tun", "kvm", "btrfs-control", "userfaultfd")
STAND_INS += tuple(f"loop{number}" for number in range(8))
GPUS = 5  # of a node
NODES = ("n1", "n2", "n3")
OPEN_NODE = "n2"  # does not confine its jobs to their devices
CPUS = 8  # of a node, whatever the machine has
MEMORY_MB = 40_000
DEV = ("null", "zero", "full", "random", "urandom", "tty")  # what else a node has in /dev

SLURM_CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
# A job that was put back into the queue waits for this time; the default is 120 s.
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=30
MinJobAge=300
JobRequeue=1
DefMemPerCPU=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
"""
PARTITIONS = """\
PartitionName=gpu Nodes=n1,n2 Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=first Nodes=n1 MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=second Nodes=n2 MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=short Nodes=n3 MaxTime=2 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=n2 MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nConstrainDevices={}\n"
# What a node does when it boots: its own /dev and temporary folder, and then the daemon.
BOOT = """
set -e
hostname {name}
mount --make-rprivate /
mkdir -p {folder}/dev
mount -t tmpfs dev {folder}/dev
cd {folder}/dev
for file in {dev}; do cp -a /dev/$file .; done
mkdir shm pts
mount --rbind /dev/shm shm
mount --rbind /dev/pts pts
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr
{devices}
mount --rbind {folder}/dev /dev
mount --bind {folder}/tmp {scratch}
mount --bind {hosts} /etc/hosts
mount --bind {folder}/cgroup.conf {etc}/cgroup.conf
cd {folder}
slurmd -D -N {name} &
wait
"""


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    if missing := [command for command in COMMANDS if not shutil.which(command)]:
        return f"not installed: {', '.join(missing)} (Debian: slurm-wlm, util-linux)"
    if not find_spec("snakemake_executor_plugin_slurm"):
        return "Snakemake's plugin for Slurm is not installed: make install"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode:
        return "namespaces cannot be made here"
    if not os.access(DEVICES_CGROUP / "cgroup.procs", os.W_OK):
        return f"{DEVICES_CGROUP} is not there or cannot be written, so jobs cannot be confined"
    if len(stand_ins()) < GPUS:
        return f"fewer than {GPUS} of {', '.join(STAND_INS)} can be opened in /dev"
    return None


def stand_ins() -> list[Path]:
    """Devices whose numbers the fake GPUs get."""
    found = []
    for name in STAND_INS:
        try:
            os.close(os.open(Path("/dev", name), os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            continue
        found.append(Path("/dev", name))
    return found[:GPUS]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what: str, seconds: float = 300, more=str):
    """Wait until the condition holds; ``more`` gives a text for the error if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}\n{more()}"
        time.sleep(0.2)


@dataclass
class Node:
    """A machine with GPUs, in namespaces of its own."""

    name: str
    folder: Path
    scratch: Path  # where the folder for temporary files is mounted, on every node
    hosts: Path
    boots: subprocess.Popen | None = field(default=None, repr=False)
    uts: Path | None = None  # the namespace with the node's name; all its processes are in it

    def start(self) -> None:
        for part in ("spool", "tmp"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        confined = "no" if self.name == OPEN_NODE else "yes"
        (self.folder / "cgroup.conf").write_text(CGROUP_CONF.format(confined))
        devices = []
        for number, device in enumerate(stand_ins()):
            facts = device.stat()
            kind = "b" if stat.S_ISBLK(facts.st_mode) else "c"
            numbers = f"{os.major(facts.st_rdev)} {os.minor(facts.st_rdev)}"
            devices.append(f"mknod -m 666 nvidia{number} {kind} {numbers}")
        boot = BOOT.format(
            name=self.name,
            folder=self.folder,
            scratch=self.scratch,
            hosts=self.hosts,
            etc=ETC,
            dev=" ".join(DEV),
            devices="\n".join(devices),
        )
        namespaces = ("--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        with (self.folder / "boot.log").open("a") as log:
            self.boots = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", "-c", boot],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        link = Path(f"/proc/{self.boots.pid}/ns/uts")
        until(lambda: link.readlink() != Path("/proc/self/ns/uts").readlink(), "it has a name")
        self.uts = link.readlink()

    def crash(self) -> None:
        """Kill all processes of the node, as a loss of power does."""
        assert self.boots
        self.boots.kill()  # its child, the first process of the namespace, dies with it
        self.boots.wait()
        until(lambda: not self.processes(), f"{self.name} is dead")

    def processes(self) -> dict[int, str]:
        """The command lines of all processes on the node, by process id on this machine."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if process.joinpath("ns/uts").readlink() == self.uts:
                    command = process.joinpath("cmdline").read_bytes()
                    found[int(process.name)] = command.replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found


class Cluster:
    """Slurm's daemons and what is asked of them."""

    def __init__(self, folder: Path):
        self.folder, self.scratch = folder, folder / "scratch"
        self.nodes = {
            name: Node(name, folder / name, self.scratch, folder / "hosts") for name in NODES
        }
        self.controller: subprocess.Popen | None = None
        self.lock = None

    def start(self) -> None:
        self._take_etc()
        for part in (self.folder / "state", self.scratch):
            part.mkdir(parents=True)
        names = ("localhost", socket.gethostname(), *self.nodes)
        (self.folder / "hosts").write_text(f"127.0.0.1 {' '.join(names)}\n")
        text = SLURM_CONF.format(
            host=socket.gethostname(),
            folder=self.folder,
            port=free_port(),
        )
        gres = []
        for node in self.nodes.values():
            text += (
                f"NodeName={node.name} NodeHostname={node.name} "
                f"NodeAddr=127.0.0.1 Port={free_port()} "
                f"CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN\n"
            )
            gres.append(f"NodeName={node.name} Name=gpu File=/dev/nvidia[0-{GPUS - 1}]\n")
        self._write("gres.conf", "".join(gres))
        self._write("cgroup.conf", CGROUP_CONF.format("yes"))
        self._write("slurm.conf", text + PARTITIONS)
        with (self.folder / "slurmctld.out").open("w") as log:
            self.controller = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "slurmctld", "-D", "-c"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        for node in self.nodes.values():
            node.start()
        until(lambda: self.states() == {"idle"}, f"all nodes are idle; see {self.folder}", 30)

    def stop(self) -> None:
        for node in self.nodes.values():
            if node.boots:
                node.crash()
        if self.controller:
            self.controller.kill()
            self.controller.wait()
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            if self._ours(ETC / name):
                (ETC / name).unlink()
        if self.lock:
            self.lock.close()

    def _take_etc(self) -> None:
        """Make sure that no other cluster is configured on this machine."""
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            if (ETC / name).exists() and not self._ours(ETC / name):
                pytest.fail(f"{ETC / name} is not of these tests; they cannot run on this machine")
        self.lock = (Path(tempfile.gettempdir()) / "mdkd-slurm-tests.lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # other tests with a cluster end first

    @staticmethod
    def _ours(file: Path) -> bool:
        return file.exists() and file.read_text().startswith(MARK)

    @staticmethod
    def _write(name: str, text: str) -> None:
        (ETC / name).write_text(MARK + text)

    def run(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def state(self, node: str) -> str:
        return self.run("sinfo", "--noheader", f"--nodes={node}", "--format=%t").split()[0]

    def states(self) -> set[str]:
        result = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"], capture_output=True, text=True
        )
        return set(result.stdout.split())

    def jobs(self) -> dict[str, str]:
        """The states of all jobs, by their numbers."""
        lines = self.run("squeue", "--states=all", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def job(self, number: str) -> dict[str, str]:
        """All that ``scontrol show job`` says of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.partition("=")[::2] for word in words)

    def start_job(self, partition: str, gpus: int, seconds: int) -> str:
        """Start a job that keeps so many GPUs of one node; returns its number."""
        need = (f"--partition={partition}", "--nodes=1", f"--gpus={gpus}", "--output=/dev/null")
        return self.run("sbatch", "--parsable", *need, f"--wrap=sleep {seconds}").strip()
