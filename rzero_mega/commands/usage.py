"""What is wrong with a command line, in one line that says what to write; and what a shell may complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer

from rzero_mega.config import preset_names
from rzero_mega.config.explain import all_keys
from rzero_mega.config.suggestions import SYNONYMS, alike, keys_like
from rzero_mega.recipes import recipe_names

# The classes themselves belong to the library below typer, which typer has renamed before.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


def complaint(error: Exception, arguments: Sequence[str], commands: Sequence[str]) -> str:
    """A usage error of typer's as one line; `arguments` are those of the command line, `commands` those there are."""
    command = arguments[0] if arguments and arguments[0] in commands else None
    see = f"`rzero-mega {f'{command} ' if command else ''}--help`"
    option = getattr(error, "option_name", None)
    if isinstance(option, str) and (setting := _as_setting(option, arguments)):
        return f"{option}: no such option; settings are written key=value: {setting}"
    close = getattr(error, "possibilities", None)
    if isinstance(option, str) and close:
        return f"{option}: no such option; did you mean {' or '.join(close)}?"
    if command is None and arguments and not arguments[0].startswith("-"):
        return f"{arguments[0]}: no such command; {_command_for(arguments, commands)}"
    message = getattr(error, "format_message", lambda: str(error))()
    return f"{' '.join(message.split()).rstrip('.')}; {see} says what there is"


def _as_setting(option: str, arguments: Sequence[str]) -> str | None:
    """The key=value that was meant by an option of a key's name, with the value that was given."""
    name = option.lstrip("-").replace("-", "_")
    known = list(all_keys())
    values = [key for key in known if all_keys()[key].section is None]
    last = name.rpartition(".")[2]
    same = name in values or any(key.rpartition(".")[2] == SYNONYMS.get(last, last) for key in values)
    meant = [name] if name in values else keys_like(name, values) if same else []
    if not meant:
        return None
    value = "VALUE"
    for given, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if given.startswith(f"{option}="):
            value = given.removeprefix(f"{option}=")
        elif given == option and after and not after.startswith("--"):
            value = after
    return " or ".join(f"{key}={value}" for key in meant)


def _command_for(arguments: Sequence[str], commands: Sequence[str]) -> str:
    if arguments[0] in recipe_names() or arguments[0].endswith((".yaml", ".yml")):
        return f"to run the recipe, write `rzero-mega run {' '.join(arguments)}`"
    close = alike(arguments[0], commands)
    return f"did you mean {close}?" if close else f"there are {', '.join(commands)}"


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes, files and folders below which one may lie, and after a + presets to put over it."""
    recipe, plus, preset = incomplete.rpartition("+")
    if plus:
        return [f"{recipe}+{name}" for name in _beginning(preset_names(), preset)]
    return [*_beginning(recipe_names(), incomplete), *_files(incomplete, ".yaml", ".yml")]


def complete_setting(incomplete: str) -> list[str]:
    """Keys of the configuration, each with its =; sections end in a dot."""
    names = (f"{name}{'=' if key.section is None else '.'}" for name, key in all_keys().items())
    return _beginning((name for name in names if name.count(".", len(incomplete)) <= 1), incomplete)


def complete_run(incomplete: str) -> list[str]:
    """Run directories below ./runs, and folders."""
    runs = (str(path.parent) for path in sorted(Path("runs").glob("*/run.json")))
    return list(dict.fromkeys([*_beginning(runs, incomplete), *_files(incomplete)]))


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, *suffixes: str) -> Iterator[str]:
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if str(path).startswith(incomplete) and (path.is_dir() or path.suffix in suffixes):
                yield f"{path}/" if path.is_dir() else str(path)
