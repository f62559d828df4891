"""The gpu-marked tests, with pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from tools.gpu_steps.outcome import StepFailed, Unavailable

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """Where tests are and which marker they have.

    Only files `test_gpu_*.py` are collected: others need packages that a machine for this lane may lack.
    """

    folder: Path = ROOT / "tests"
    marker: str = "gpu"


@dataclass(frozen=True)
class Tests:
    """Counts, and the outcome of each test: passed, failed or skipped with the reason."""

    passed: int
    failed: int
    skipped: int
    exit_code: int
    outcomes: dict[str, str]


def run(settings: Settings) -> Tests:
    """Run them; StepFailed with the counts if one failed or none ran."""
    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        raise Unavailable(f"{missing[0]} is not installed")
    files = sorted(str(file) for file in settings.folder.rglob("test_gpu_*.py"))
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        arguments = ["-q", "-m", settings.marker, f"--junitxml={report}", "-p", "no:cacheprovider"]
        done = subprocess.run([sys.executable, "-m", "pytest", *arguments, *files], cwd=ROOT)
        found = read_report(report.read_text(encoding="utf-8"), done.returncode) if report.is_file() else None
    if found is None:
        raise StepFailed(f"pytest ended with code {done.returncode} and no report", {})
    if done.returncode or not found.passed:
        failed = next((test for test, outcome in found.outcomes.items() if outcome.startswith("failed")), "none ran")
        raise StepFailed(f"{found.failed} of {len(found.outcomes)} tests failed: {failed}", asdict(found))
    return found


def read_report(xml: str, exit_code: int) -> Tests:
    """What pytest's JUnit report says."""
    outcomes: dict[str, str] = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes[name] = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcomes[name] = "failed: " + " ".join((child.get("message") or "").split())[:200]
            elif child.tag == "skipped":
                outcomes[name] = "skipped: " + " ".join((child.get("message") or "").split())[:200]
    kinds = [outcome.partition(":")[0] for outcome in outcomes.values()]
    return Tests(kinds.count("passed"), kinds.count("failed"), kinds.count("skipped"), exit_code, outcomes)
