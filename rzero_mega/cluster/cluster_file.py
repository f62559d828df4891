"""The cluster file: all that a site writes down once, as YAML."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field, fields
from pathlib import Path

from rzero_mega.coevolution.stretch import JOB_PER
from rzero_mega.config.load import load_file
from rzero_mega.config.schema.metadata import choice, number, path
from rzero_mega.errors import UserError
from rzero_mega.text_file import is_missing

# In an installed package; in a clone they are in slurm/.
EXAMPLES = Path(__file__).with_name("examples")
_SECRET = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)")
_TIME = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,2}):([0-9]{2}):([0-9]{2})")


@dataclass(frozen=True)
class _Allowed:
    """What a value may be that stands in scripts, partly without quotes: NeMo-Run writes their larger part."""

    pattern: str
    words: str


_PATH = r"/[\w./@+=-]*"
_NAME = _Allowed(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*", "letters, digits and _ . @ + -")
_FOLDER = _Allowed(_PATH, "an absolute path of letters, digits and _ . / @ + = -")
_ALLOWED = {
    "account": _NAME,
    "partition": _Allowed(r"[A-Za-z0-9_][A-Za-z0-9_.@+,-]*", "names, with commas between them"),
    "qos": _NAME,
    "reservation": _Allowed(r"[A-Za-z0-9_][A-Za-z0-9_.@+,-]*", "names, with commas between them"),
    "constraint": _Allowed(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,&|*()\[\]:=+-]*", "features, with & | * ( ) [ ] between them"),
    "exclude": _Allowed(r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]*", "nodes as Slurm lists them, such as n1,n[3-5]"),
    "mem": _Allowed(r"[0-9]{1,12}[KMGT]?", "a number, with K, M, G or T"),
    "root": _FOLDER,
    "container_image": _Allowed(r"[\w./][\w./:@#+=-]*", "a path or address of letters, digits and _ . / : @ # + = -"),
    "mounts": _Allowed(rf"{_PATH}:{_PATH}(:[a-z,+-]+)?", "/on/the/node:/in/the/container, with options or without"),
    "secrets_file": _FOLDER,
}


@dataclass
class ClusterFile:
    """A Slurm cluster as its user sees it; null leaves a setting to Slurm.

    `root` is a folder on the file system that all nodes share: runs lie in `root`/runs, NeMo-Run's files in
    `root`/nemo; containers see it under the same path. `wall_time` is the longest that a job may take,
    HH:MM:SS or D-HH:MM:SS; `grace_s` seconds before it jobs are told to save and stop. A job goes through all phases of
    an iteration, which keeps servers and processes over them. An iteration has `jobs_per_iteration` jobs of at most
    `iteration_wall_time`, null for `wall_time`: the first does the work, and each of the others goes on where the one
    before it did not finish. With `job_per` phase a job is made for one phase, which has `jobs_per_phase` jobs.

    `gpus_per_node` is what jobs ask for and must be that of the recipe; 0 asks for none. `env` is exported on every
    node, as it stands: nothing in it is filled in. `pre_commands` are lines of shell that run on every node before the
    phase, inside the container where there is one. What else stands in scripts is a name or a path of plain characters.
    `secrets_file` is a file of lines NAME=value that only its owner may read; it is read by jobs when they
    start, and appears nowhere.
    """

    account: str = ""
    root: str = path("")
    partition: str | None = None
    gpus_per_node: int = number(8, 0)
    wall_time: str = "04:00:00"
    grace_s: int = number(600, 1)
    jobs_per_phase: int = number(4, 1, 100)
    job_per: str = choice(*JOB_PER)
    iteration_wall_time: str | None = None
    jobs_per_iteration: int = number(8, 1, 100)
    container_image: str | None = path(None)
    mounts: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    pre_commands: list[str] = field(default_factory=list)
    secrets_file: str | None = path(None)
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclude: str | None = None
    exclusive: bool = True
    cpus_per_task: int | None = number(None, 1)
    mem: str | None = None

    @property
    def job_wall_time(self) -> str:
        """The longest that a job may take, whatever jobs are made for."""
        return (self.iteration_wall_time if self.job_per == "iteration" else None) or self.wall_time

    @property
    def links(self) -> int:
        """How many jobs there are, one after the other, for what a job is made for."""
        return self.jobs_per_iteration if self.job_per == "iteration" else self.jobs_per_phase

    @property
    def runs(self) -> Path:
        """Where run directories lie."""
        return Path(self.root) / "runs"

    @property
    def nemo_run_home(self) -> Path:
        """Where NeMo-Run keeps scripts, job logs and its records."""
        return Path(self.root) / "nemo"


def read_cluster_file(file: Path) -> ClusterFile:
    """Read and check a cluster file. UserError names the file and the key."""
    if is_missing(file):
        examples = EXAMPLES if EXAMPLES.is_dir() else "slurm/"
        raise UserError(f"{file}: there is no such cluster file; {examples} has examples")
    cluster = load_file(ClusterFile, file)
    try:
        _check(cluster)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return cluster


def seconds_of(wall_time: str, key: str = "wall_time") -> int:
    """Seconds of D-HH:MM:SS or HH:MM:SS; UserError for anything else, which names the `key`."""
    match = _TIME.fullmatch(wall_time)
    if match is None:
        raise UserError(f"{key}: {wall_time!r} is not HH:MM:SS or D-HH:MM:SS")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _check(cluster: ClusterFile) -> None:
    # Parameters of a batch script end with their line; whatever came after would be a command.
    for spec in fields(cluster):
        for text in _texts(getattr(cluster, spec.name)):
            if not text.isprintable():
                raise UserError(f"{spec.name}: {text!r} has a line break or another control character; leave it out")
            if "/nemo_run" in text:
                raise UserError(f"{spec.name}: NeMo-Run puts another path in place of /nemo_run in {text}; rename it")
    for name, value in cluster.env.items():
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise UserError(f"env.{name}: is no name of a variable in upper case, the only ones that NeMo-Run hands on")
        if _SECRET.search(name):
            raise UserError(f"env.{name}: looks like a secret, and scripts are readable; put it into secrets_file")
        if re.search(r"[$`]", value):
            raise UserError(f"env.{name}: {value} is not filled in; write it in pre_commands: export {name}=...")
    if not cluster.account:
        raise UserError("account: needed, the account that Slurm charges")
    if not Path(cluster.root).is_absolute():
        raise UserError("root: needed, the absolute path of a folder on the file system that all nodes share")
    for name, allowed in _ALLOWED.items():
        for text in _texts(getattr(cluster, name)):
            if not re.fullmatch(allowed.pattern, text):
                raise UserError(f"{name}: {text!r} is not {allowed.words}, as scripts and Slurm need it")
    for key in ("wall_time", "iteration_wall_time"):
        limit = getattr(cluster, key)
        if limit is not None and cluster.grace_s >= seconds_of(limit, key):
            raise UserError(f"grace_s: {cluster.grace_s} is not shorter than {key} {limit}")
    if cluster.secrets_file is not None:
        _check_secrets(Path(cluster.secrets_file))


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [str(item) for item in value]
    if isinstance(value, dict):
        return [str(item) for item in value.values()]
    return []


def _check_secrets(path: Path) -> None:
    if is_missing(path):
        raise UserError(f"secrets_file: {path} does not exist; write it, lines of NAME=value, and chmod 600 it")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UserError(f"secrets_file: {path} can be read by others; chmod 600 it")
