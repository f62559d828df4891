"""Do the environments of machines with GPUs resolve? `python -m tools.check_environments [--write]`.

The learner's is either that of NVIDIA's image with this package in it, where the image's torch and Transformer Engine
stay (`tools/image.txt`), or what `make gpu` makes (`tools/constraints.txt`). The servers' is SGLang's, locked in
`tools/sglang-gpu.txt`, which `--write` writes anew. uv resolves all from the index's metadata; nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from rzero_mega.rollout.sglang.server.installation import SGLANG

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "tools" / "image.txt"
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
LOCK = ROOT / "tools" / "sglang-gpu.txt"
# The image's.
TARGET = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_39", "--no-build")
SHOWN = ("sglang", "torch", "transformers", "megatron-core", "transformer-engine")
HEADER = f"""\
# What SGLang {SGLANG} needs to serve on GPUs: `make gpu` and the Dockerfile install these into an environment of their
# own. `python -m tools.check_environments --write` writes this file, `make lint-environments` resolves it again.
"""


class Unresolvable(Exception):
    """The resolver's own words."""


class Unreachable(Exception):
    """There is no index to ask."""


def pins(text: str) -> dict[str, str]:
    """Return versions by name, of lines such as `name==version`."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {name: version for name, _, version in (line.partition("==") for line in lines if line)}


def resolved(source: str, *options: str, given: str = "") -> str:
    """Return the lines of `uv pip compile SOURCE`, whose standard input is `given`. Unresolvable if there are none."""
    command = [sys.executable, "-m", "uv", "pip", "compile", source, "--quiet", "--no-header", "--no-annotate"]
    # The interpreter of the target need not be here, nor be fetched: there are wheels of everything.
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [*command, *TARGET, *options], input=given, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if "error sending request" in done.stderr:
        raise Unreachable
    if done.returncode:
        raise Unresolvable(done.stderr.strip() or f"uv ended with code {done.returncode}")
    return done.stdout


def learner(constraints: str, unpublished: Mapping[str, str]) -> dict[str, str]:
    """Return what an environment of this package holds; of what is `unpublished` the index has no wheel."""
    with TemporaryDirectory() as folder:
        for name, version in unpublished.items():
            _stand_in(Path(folder), name, version)
        given = Path(folder) / "constraints.txt"
        given.write_text(constraints, encoding="utf-8")
        extras = ("--extra", "gguf", "--extra", "gpu")
        return pins(resolved("pyproject.toml", *extras, "--constraint", str(given), "--find-links", folder))


def in_the_image() -> dict[str, str]:
    """Return what the image holds of this package's dependencies beside what it brings, and that."""
    text = IMAGE.read_text(encoding="utf-8")
    found = learner(text, pins(text))
    if second := sorted(name for name in found if name.startswith("nvidia-")):
        raise Unresolvable(f"the image would get a second CUDA: {', '.join(second)}")
    return found


def by_make() -> dict[str, str]:
    """Return what `make gpu` installs into .venv."""
    (torch,) = re.findall(r"install -q (torch==\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    text = CONSTRAINTS.read_text(encoding="utf-8")
    built = "transformer_engine_torch"
    return learner(f"{text}{torch}\n", {built: pins(text)[built]})


def servers() -> str:
    """Return the servers' environment as the lock has it, but for what the lock can no longer be."""
    with TemporaryDirectory() as folder:
        preferred = Path(folder) / LOCK.name
        preferred.write_text(LOCK.read_text(encoding="utf-8") if LOCK.exists() else "", encoding="utf-8")
        resolved("-", "--output-file", str(preferred), given=f"sglang=={SGLANG}\n")
        return HEADER + preferred.read_text(encoding="utf-8")


def _stand_in(folder: Path, name: str, version: str) -> None:
    """Write a wheel that has the name and the version of what the image holds and no index has, and needs nothing."""
    stem = f"{name.replace('-', '_')}-{version}"
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: pytorch\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in texts.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)


def main(write: Annotated[bool, typer.Option(help="Write the servers' lock anew.")] = False) -> None:
    """Say what each environment holds; exit code 1 if one of them does not resolve or the lock is another.

    Without a network there is nothing to say, and lint goes on.
    """
    try:
        image, made, served = in_the_image(), by_make(), servers()
    except Unreachable:
        print("the index of packages can't be reached: nothing was resolved", file=sys.stderr)
        return
    except Unresolvable as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    if write:
        LOCK.write_text(served, encoding="utf-8")
    elif LOCK.read_text(encoding="utf-8") != served:
        print(f"{LOCK.relative_to(ROOT)} is not what resolves; write it anew with --write", file=sys.stderr)
        raise typer.Exit(1)
    for name, found in (("image", image), ("make gpu", made), ("servers", pins(served))):
        print(_line(name, found))


def _line(name: str, found: Mapping[str, str]) -> str:
    shown = [f"{package} {found[package]}" for package in SHOWN if package in found]
    return f"{name}: {', '.join(shown)}"


if __name__ == "__main__":
    typer.run(main)
