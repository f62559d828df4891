"""The rules of the rooms: who may import whom, what must work without what, how long things get, what never runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from tests.conftest import LONGEST

PACKAGE = ROOT / "rzero_mega"
FOLDERS = ("rzero_mega", "recipes", "slurm", "tools")
SOURCES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# The rooms that each room may import besides itself and the ground floor. phases, commands and cli put them together.
MAY_IMPORT: dict[str, set[str]] = {
    "config": set(),
    "coevolution": {"config"},
    "grading": {"config"},
    "learner": {"config", "planning", "run", "weights"},
    "weights": {"config"},
    "rollout": {"config", "weights"},
    "inspection": {"config", "rollout", "weights"},
    "run": {"config"},
    # coevolution for prompts: what a run is made of besides its configuration is read in one place.
    "evaluation": {"coevolution", "config", "domains", "grading", "rollout"},
    # What a domain is made of: records of the algorithm, a grader.
    "domains": {"coevolution", "config", "grading"},
    # coevolution for the plan that status follows, and for what the report shows of checks and records; evaluation for
    # the table of results, which report and W&B show.
    "tracking": {"config", "coevolution", "evaluation", "run"},
    "assets": set(),
    # evaluation for the texts that a submission writes into its run.
    "cluster": {"config", "coevolution", "evaluation", "recipes", "run", "tracking"},
    "planning": {"config", "weights"},
    # coevolution for the plan, evaluation for what benchmarks ask, rollout for the dispatch and queue that are driven,
    # run for what assumptions are fitted to, domains for the kinds of pairs that a Critic is measured on.
    "simulation": {"coevolution", "config", "domains", "evaluation", "planning", "rollout", "run", "weights"},
    # coevolution for prompts, tracking for what a card says of a run.
    "release": {"coevolution", "config", "domains", "evaluation", "rollout", "run", "tracking", "weights"},
    # evaluation for statistics, coevolution for the plan that a cell follows, tracking for what a run says of itself.
    "grid": {"config", "coevolution", "evaluation", "recipes", "run", "tracking"},
    "phases": {
        "config",
        "coevolution",
        "domains",
        "learner",
        "weights",
        "rollout",
        "evaluation",
        "grading",
        "run",
        "tracking",
    },
    "commands": {
        "cluster",
        "config",
        "coevolution",
        "domains",
        "evaluation",
        # grading: audits, and predictions that are judged again, are no phases.
        "grading",
        "grid",
        "inspection",
        "learner",
        "phases",
        "planning",
        "recipes",
        "release",
        "rollout",
        "run",
        "simulation",
        "tracking",
        "weights",
    },
}
# Modules that belong to no room: every room may use them.
GROUND_FLOOR = {
    "activity",
    "atomic",
    "errors",
    "lifetime",
    "open_files",
    "own_file",
    "patience",
    "phase_name",
    "records",
    "scratch",
    "spmd",
    "terminal",
    "text_file",
    "yaml_text",
}
HTTP = {"requests", "httpx", "aiohttp", "http", "urllib.request"}
ENGINES = {"megatron", "sglang", "transformer_engine"}
# Packages that a room must not know, wherever in a file the import stands.
MUST_NOT_KNOW: dict[str, set[str]] = {
    "config": {"torch", "transformers", *ENGINES, *HTTP},
    "coevolution": {"torch", "transformers", *ENGINES, *HTTP},
    "domains": {"torch", "transformers", *ENGINES, *HTTP},
    "grading": {"torch", "transformers", *ENGINES, *HTTP},
    "run": {"torch", "transformers", *ENGINES, *HTTP},
    "cluster": {"torch", "transformers", *ENGINES, *HTTP},
    "grid": {"torch", "transformers", *ENGINES, *HTTP},
    "planning": {"torch", "transformers", *ENGINES, *HTTP},
    "simulation": {"torch", "transformers", *ENGINES, *HTTP},
    "tracking": {"torch", "transformers", *ENGINES},
    "evaluation": ENGINES,
    "inspection": {*ENGINES, *HTTP},
    "release": {*ENGINES, *HTTP},
    "rollout": {"megatron", "transformer_engine"},
    "weights": {"megatron", "sglang", "transformer_engine"},
    "learner": {"sglang", *HTTP},
}
# Not everyone has these: they are imported where they are used.
OPTIONAL = {
    "sglang",
    "nemo_run",
    "wandb",
    "transformer_engine",
    "gguf",
    "accelerate",
    "matplotlib",
    "pydantic_monty",
    "prometheus_client",
}
PURE = (
    "config",
    "coevolution",
    "domains",
    "grading",
    "run",
    "cluster",
    "tracking",
    "evaluation",
    "planning",
    "simulation",
    "grid",
)

LONGEST_FILE, LONGEST_FUNCTION = 500, 80

# Calls that can turn data into code. Every use that is not in PERMITTED fails.
DANGEROUS = {
    "eval", "exec", "compile", "__import__", "sympify", "parse_expr", "lambdify", "os.system", "os.popen",
    "torch.load", "yaml.load", "numpy.load", "np.load", "runpy.run_path", "importlib.import_module",
    "entry_points", "importlib.metadata.entry_points",
}  # fmt: skip
DANGEROUS_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "runpy"}
PERMITTED: dict[tuple[str, str], str] = {
    ("rzero_mega/learner/checkpoints/safe_files.py", "pickle"): "an Unpickler that finds plain data classes alone",
    ("rzero_mega/learner/checkpoints/safe_files.py", "torch.load"): "with weights_only=True",
    ("rzero_mega/weights/transports/payload.py", "pickle"): "only written: the form in which SGLang takes tensors",
    ("rzero_mega/tracking/wandb_run.py", "importlib.import_module"): "a literal: wandb is optional",
    ("rzero_mega/grading/workers/worker.py", "importlib.import_module"): "named by the process that starts this one",
    ("rzero_mega/domains/registry.py", "entry_points"): "a domain that somebody has installed, and names",
    ("rzero_mega/domains/registry.py", "importlib.metadata.entry_points"): "the same",
    ("recipes/__init__.py", "importlib.import_module"): "a name out of the list of shipped recipes",
}


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imported(node: ast.AST, file: Path) -> Iterator[str]:
    """Full names of the modules that an import statement may load."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = file.relative_to(ROOT).with_suffix("").parts[: -node.level]
            base = ".".join((*package, base)).rstrip(".")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(file: Path) -> set[str]:
    return {name for node in ast.walk(tree(file)) for name in imported(node, file)}


def imports_when_loaded(file: Path) -> set[str]:
    """Those that run when the module is imported: outside functions, and not for type checkers alone."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield from imported(node, file)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return set(visit(tree(file)))


def under(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def test_every_room_has_its_row_in_the_table() -> None:
    rooms = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir() and any(folder.glob("*.py"))}
    assert rooms == set(MAY_IMPORT)


def test_the_table_in_the_document_of_the_rooms_is_this_one() -> None:
    rows = re.findall(r"^\| \[`(\w+)/`\]\(\1\) \| .* \| (.*) \|$", (PACKAGE / "README.md").read_text(), re.MULTILINE)
    assert dict(rows) == {room: ", ".join(sorted(others)) or "nothing" for room, others in MAY_IMPORT.items()}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_of_its_row(room: str) -> None:
    allowed = {room, *GROUND_FLOOR} | MAY_IMPORT[room]
    wrong = {
        f"{relative(file)} imports {name}"
        for file in files_of(room)
        for name in imports(file)
        if name.startswith("rzero_mega.") and name.split(".")[1] not in allowed | {"__version__"}
    }
    assert not wrong


@pytest.mark.parametrize("room", MUST_NOT_KNOW)
def test_a_room_does_not_know_the_packages_of_others(room: str) -> None:
    wrong = {
        f"{relative(file)} imports {name}"
        for file in files_of(room)
        for name in imports(file)
        if under(name, MUST_NOT_KNOW[room])
    }
    assert not wrong


def test_domains_are_known_by_the_protocol_and_the_registry_alone() -> None:
    folders = {f"rzero_mega.domains.{path.parent.name}" for path in (PACKAGE / "domains").glob("*/domain.py")}
    assert folders == {
        "rzero_mega.domains.arithmetic",
        "rzero_mega.domains.mathematics",
        "rzero_mega.domains.rewriting",
        "rzero_mega.domains.summaries",
    }
    wrong = {
        f"{relative(file)} imports {name}"
        for file in SOURCES
        if file.is_relative_to(PACKAGE) and not file.is_relative_to(PACKAGE / "domains")
        for name in imports(file)
        if under(name, folders)
    }
    assert not wrong


def test_nothing_imports_the_command_line() -> None:
    wrong = [relative(f) for f in SOURCES if "rzero_mega.cli" in imports(f) and f.name != "__main__.py"]
    assert not wrong


def test_optional_packages_are_imported_where_they_are_used() -> None:
    wrong = {
        f"{relative(file)} imports {name}"
        for file in SOURCES
        if file.is_relative_to(PACKAGE)
        for name in imports_when_loaded(file)
        if under(name, OPTIONAL)
    }
    assert not wrong


def test_megatron_is_imported_by_the_learner_alone() -> None:
    assert {
        relative(file)
        for file in SOURCES
        if any(under(name, {"megatron"}) for name in imports(file)) and not file.is_relative_to(PACKAGE / "learner")
    } == set()


IMPORT_WITHOUT = '''
import importlib, sys

BLOCKED = set(sys.argv[1].split(","))

class Without:
    """A finder that does not find the blocked packages: as if they were not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
for name in BLOCKED:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was not blocked")
for name in sys.argv[2:]:
    importlib.import_module(name)
'''


def import_without(blocked: set[str], modules: list[str]) -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, ",".join(sorted(blocked)), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def modules_of(room: str) -> list[str]:
    names = []
    for file in files_of(room):
        parts = file.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_the_package_itself_needs_none_of_the_big_libraries() -> None:
    big = {"torch", "megatron", "sglang", "nemo_run", "wandb", "transformers", "numpy"}
    import_without(big, ["rzero_mega", "rzero_mega.errors"])


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_works_without_torch_and_the_engines(room: str) -> None:
    import_without({"torch", "megatron", "sglang", "nemo_run", "wandb"}, modules_of(room))


@pytest.mark.parametrize("room", ["weights", "rollout"])
def test_weights_and_rollouts_work_without_the_learner_s_libraries(room: str) -> None:
    import_without({"megatron", "sglang", "nemo_run", "wandb"}, modules_of(room))


def test_the_planner_works_without_torch_and_the_engines() -> None:
    import_without({"torch", "megatron", "sglang", "transformers"}, modules_of("planning"))


def test_no_file_is_too_long() -> None:
    lengths = {relative(file): len(file.read_text(encoding="utf-8").splitlines()) for file in [*SOURCES, *TESTS]}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    too_long = {}
    for file in SOURCES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    too_long[f"{relative(file)}: {node.name}"] = length
    assert too_long == {}


def dangers(file: Path) -> set[str]:
    """What in a file may turn data into code: calls, imports of pickling modules, and switches that allow it."""
    found = set()
    for node in ast.walk(tree(file)):
        found |= {name.split(".")[0] for name in imported(node, file) if under(name, DANGEROUS_MODULES)}
        if isinstance(node, ast.ImportFrom):
            # `from torch import load` would hide the call's full name
            found |= {name for name in imported(node, file) if name in DANGEROUS or name.split(".")[-1] in DANGEROUS}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            # A method such as model.eval() is another thing than the builtin.
            last = called.rsplit(".", 1)[-1] if called.startswith(("sympy.", "sp.")) else called
            if called in DANGEROUS or last in DANGEROUS:
                found.add(called)
            for keyword in node.keywords:
                switch = (keyword.arg, ast.unparse(keyword.value))
                if switch in {("shell", "True"), ("trust_remote_code", "True"), ("allow_pickle", "True")}:
                    found.add(f"{switch[0]}={switch[1]}")
                if switch == ("weights_only", "False"):
                    found.add("weights_only=False")
    return found


def test_nothing_evaluates_text_or_unpickles_what_others_wrote() -> None:
    found = {(relative(file), what) for file in SOURCES for what in dangers(file)}
    assert found - set(PERMITTED) == set()
    assert set(PERMITTED) - found == set(), "permitted, and no longer used"


def test_every_torch_load_says_weights_only() -> None:
    for file in SOURCES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                switches = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert switches.get("weights_only") == "True", relative(file)


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "from torch import load",
        "sympy.sympify(text)",
        "from sympy import sympify",
        "from sympy.parsing.sympy_parser import parse_expr",
        "yaml.load(text)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_search_finds_every_kind_of_danger(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "example.py"
    file.write_text(code)
    assert dangers(file)


def test_the_search_leaves_innocent_calls_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "example.py"
    file.write_text("model.eval()\nre.compile(text)\njson.load(file)\nyaml.safe_load(text)\nsubprocess.run([a])\n")
    assert dangers(file) == set()


@pytest.mark.parametrize("lane", ["e2e", "sglang", "slurm"])
def test_a_lane_is_looked_for_wherever_it_has_tests(lane: str) -> None:
    made = (ROOT / "Makefile").read_text().replace("$(SGLANG_TESTS)", "SGLANG")
    variable = re.search(r"^SGLANG_TESTS := (.*)$", made, re.MULTILINE)
    recipe = re.search(rf"^test-{lane}:.*\n\t\$\(PYTEST\) (.*?) -m", made, re.MULTILINE)
    assert variable is not None and recipe is not None
    places = recipe[1].replace("SGLANG", variable[1]).replace("-n 0", "").split()
    for file in (ROOT / "tests").rglob("test_*.py"):
        marks = set(re.findall(r"pytest\.mark\.(e2e|sglang|slurm)\b", file.read_text()))
        if lane == max(marks, key=["e2e", "sglang", "slurm"].index, default=None):
            assert any((ROOT / place) in (file, *file.parents) for place in places), relative(file)


def test_modules_are_started_in_one_way_which_leaves_the_working_folder_out() -> None:
    # -P, or what lies in the working folder goes for the standard library.
    starts = {relative(file) for file in sorted(PACKAGE.rglob("*.py")) if '"-m"' in file.read_text(encoding="utf-8")}
    assert starts == {"rzero_mega/lifetime.py"}
    scripts = [path.read_text() for path in sorted(PACKAGE.rglob("*.j2"))]
    assert not any(re.search(r"python3? (?!-P )", script) for script in scripts)


def test_one_module_alone_prints() -> None:
    # Whatever goes past it could hold escape sequences of somebody else's.
    ways = {"print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write", "Console"}
    found = {
        relative(file)
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ways
    }
    assert found == {"rzero_mega/terminal.py"}


@pytest.mark.parametrize("file", LONGEST)
def test_a_file_that_is_to_come_first_is_there(file: str) -> None:
    assert (ROOT / file).is_file()
