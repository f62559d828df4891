"""What a run goes on under: which changes of its configuration, prompts and benchmarks it takes, and which it refuses.

The kind of a key (`config/kinds.py`) and what the phases have done decide. A run in which nothing is done yet holds on
to nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.config.kinds import KeyChange, kinds
from rzero_mega.config.schema.metadata import Change, Fixed
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run.phase import PhaseDirectory

_SHOWN = 4
_SHOWN_CHARS = 80


@dataclass(frozen=True)
class Done:
    """What there is of a phase: it is finished, or has parts (or percent), or a checkpoint, or neither."""

    folder: Path
    iteration: int
    phase: PhaseName
    finished: bool
    parts: int
    steps: int

    @property
    def anything(self) -> bool:
        """Whether something would be lost or mixed."""
        return self.finished or self.parts > 0 or self.steps > 0

    @classmethod
    def of(cls, phase: PhaseDirectory) -> Done:
        """What the folder holds."""
        checkpoint = phase.latest_checkpoint()
        finished = phase.manifest_path.is_file()
        parts = 0 if finished else len(phase.finished_parts()) or phase.percent_done()
        return cls(phase.path, phase.iteration, phase.phase, finished, parts, checkpoint[0] if checkpoint else 0)


@dataclass(frozen=True)
class TextChange:
    """A prompt, or the benchmarks, whose text is another one now; `key` says where the configuration names it."""

    key: str
    before: str | None
    after: str

    def __str__(self) -> str:
        """With the first line that is gone and the first that is new."""
        if self.before is None:
            return f"{self.key}: the text has changed"
        lines = list(difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=0, lineterm=""))[2:]
        changed = [" ".join(line.split())[:_SHOWN_CHARS] for line in lines if not line.startswith("@@")]
        shown = [next((line for line in changed if line.startswith(sign)), None) for sign in "-+"]
        first = " | ".join(line for line in shown if line is not None)
        more = len(changed) - sum(line is not None for line in shown)
        return f"{self.key}: the text has changed: {first}" + (f" | and {more} lines more" if more else "")


def check_changes(run: Path, changes: Sequence[KeyChange], texts: Sequence[TextChange], phases: Sequence[Done]) -> None:
    """UserError that names what may not change and says what to do, if there is anything of that kind."""
    refused = [(change, why) for change in changes for why in [_refusal(run, change, phases)] if why is not None]
    shown = [str(change) for change, _ in refused[:_SHOWN]]
    advice = [why for _, why in refused[:_SHOWN]]
    for text in texts:
        why = _text_refusal(run, text, phases)
        if why is not None:
            shown.append(str(text))
            advice.append(why)
    if not shown:
        return
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    raise UserError(
        f"{run}: was started with another configuration ({'; '.join(shown)}{more}); {'; '.join(dict.fromkeys(advice))}"
    )


def _refusal(run: Path, change: KeyChange, phases: Sequence[Done]) -> str | None:
    """What to do about a change that is refused; None for one that is not."""
    kind = change.kind
    concerned = [done for done in phases if done.phase in kind.phases and done.anything]
    if kind.change is Change.IDENTITY and not kind.named:
        return _identity_advice(run, kind.phases) if concerned else None
    if kind.change is Change.PHASE and kind.fixed is not None:
        under_way = next((done for done in concerned if not done.finished), None)
        return _fixed_advice(kind.fixed, change, under_way) if under_way is not None else None
    return None


def _identity_advice(run: Path, phases: Sequence[PhaseName]) -> str:
    if len(phases) == len(PhaseName):
        return f"set it back, choose another run.name, or remove {run} to start it afresh"
    names = " and ".join(f"{run}/iterations/*/{phase}" for phase in phases)
    return f"set it back, or remove {names} to have all of it done alike"


def _fixed_advice(fixed: Fixed, change: KeyChange, done: Done) -> str | None:
    anew = f"or remove {done.folder} to begin that phase anew"
    if fixed is Fixed.STEPS:
        if change.after >= done.steps:
            return None
        return f"{done.steps} steps of {done.iteration}/{done.phase} are done: set {change.key} to no less, {anew}"
    count = done.parts if fixed is Fixed.PARTS else done.steps
    what = "parts" if fixed is Fixed.PARTS else "steps"
    return f"{count} {what} of {done.iteration}/{done.phase} are done with it: set it back, {anew}" if count else None


def _text_refusal(run: Path, text: TextChange, phases: Sequence[Done]) -> str | None:
    kind = kinds()[text.key]
    if not any(done.phase in kind.phases and done.anything for done in phases):
        return None
    whole = len(kind.phases) == len(PhaseName)
    other = "choose another run.name" if whole else _identity_advice(run, kind.phases).removeprefix("set it back, or ")
    return f"put back the text, which the run has in {run / 'inputs' / text.key}, or {other}"


def notes(changes: Sequence[KeyChange], phases: Sequence[Done]) -> Iterator[tuple[str, bool]]:
    """(a line about a change that is taken, whether it is a warning)."""
    begun = any(done.anything for done in phases)
    for change in changes:
        kind = change.kind
        if not begun or kind.named or kind.change is Change.IDENTITY:
            continue
        if kind.change is Change.PHASE:
            had = [f"{done.iteration}/{done.phase}" for done in phases if done.finished and done.phase in kind.phases]
            yield f"{change}, for phases not yet finished{f'; {_list(had)} had {change.before}' if had else ''}", False
        elif kind.last_bits:
            yield f"{change}: from here on, last bits may differ from those of an undisturbed run", True


def text_notes(texts: Sequence[TextChange], phases: Sequence[Done]) -> Iterator[str]:
    """Warnings about texts that are taken."""
    labelled = [f"{done.iteration}/{done.phase}" for done in phases if done.finished and done.phase is PhaseName.LABELS]
    if labelled and any(text.key == "evaluation.benchmarks" for text in texts):
        yield f"evaluation.benchmarks: {_list(labelled)} did not keep these problems out of training"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def text_changes(before: Mapping[str, str | None], after: Mapping[str, str]) -> list[TextChange]:
    """Texts that are not those of the run, of the keys for which it has one; `before` has None for one that is lost."""
    return [TextChange(key, before[key], text) for key, text in after.items() if key in before]
