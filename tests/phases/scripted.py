"""A run with the nano base's tokenizer and the real grader, in which engines say what a test tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from rzero_mega.atomic import read_jsonl, write_jsonl
from rzero_mega.config import load_config
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.context import ActivePhase, Role, RunContext, load_encoder, new_grader
from rzero_mega.records import Record
from rzero_mega.rollout.protocol import (
    Arrived,
    FinishReason,
    Request,
    RolloutEngine,
    Sample,
    Scored,
    logprob_array,
    token_array,
)
from rzero_mega.rollout.sharded import generate_in_turn
from rzero_mega.run import RunDirectory
from rzero_mega.run.stop import StopRequest
from rzero_mega.tracking.progress import Progress
from rzero_mega.weights.base_model import resolve_base_model

CUT_OFF = "[cut off]"
"""Ends the text of a response that the token limit ended."""

Respond = Callable[[str, int], str]


class ScriptedEngine:
    """A `RolloutEngine` in which `respond(prompt, index)` gives the text of a sample."""

    receivers = (0,)

    def __init__(self, model: Path, respond: Respond, context: int = 10_000) -> None:
        self.context = context
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._respond = respond
        self.requests: list[Request] = []
        self.closed = False

    @property
    def prompts(self) -> list[str]:
        """What was asked, request by request."""
        return [self._tokenizer.decode(request.prompt_tokens) for request in self.requests]

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        self.requests += requests
        return [self._sample(request, request.first_index + i) for request in requests for i in range(request.n)]

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        generate_in_turn(self.generate, units, arrived)

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        return [(-1.0,) * len(sequence.response_tokens) for sequence in sequences]

    def prepare(self) -> None:
        pass

    def update_weights(self, source: Iterable[object], version: int) -> None:
        for _ in source:
            pass

    def close(self) -> None:
        self.closed = True

    def _sample(self, request: Request, index: int) -> Sample:
        text = self._respond(self._tokenizer.decode(request.prompt_tokens), index)
        finish = FinishReason.LENGTH if text.endswith(CUT_OFF) else FinishReason.STOP
        tokens = tuple(self._tokenizer.encode(text.removesuffix(CUT_OFF)))
        drawn = token_array(tokens), logprob_array([-1.0] * len(tokens))
        return Sample(request.key, index, request.prompt_tokens, *drawn, finish, 0)


@dataclass
class Bar:
    """A progress bar that remembers how far it came."""

    steps: list[int] = field(default_factory=list)

    def advance(self, step: int, left: float | None = None, **_values: float | None) -> None:
        self.steps.append(step)


class Asked(StopRequest):
    """Somebody has asked this job to stop."""

    requested = True


@dataclass
class ScriptedRun:
    """A run in `folder`; its engines are those of `engines`, by role, and real ones for roles that have none there."""

    folder: Path
    overrides: tuple[str, ...]
    engines: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A phase is tried by itself here, and gauges take what another phase leaves.
        alone = ("run.minimum_free_mb=0", "grading.workers=1", "tracking.wandb=disabled", "labels.gauges.questions=0")
        settings = (*alone, *self.overrides)
        config = load_config(["paper", "nano"], ["learner.processes=1", *settings])
        self.base = resolve_base_model(config.model, self.folder)
        self.directory = RunDirectory.create_or_open(self.folder / "run", config, writer=True)
        self.ctx = RunContext(
            config,
            load_encoder(self.base),
            new_grader(config),
            None,
            self.directory,
            ParallelLayout(),
            self.base,
            Progress("test", 1, writer=False),
            None,
            StopRequest(),
        )
        real = self.ctx.engine

        def engine(role: Role, model: Path, wait: bool = True) -> RolloutEngine:
            return self.engines.get(role) or real(role, model, wait)

        self.ctx.engine = engine  # type: ignore[method-assign]

    def close(self) -> None:
        self.ctx.grader.close()
        self.directory.close()

    def script(self, role: str, respond: Respond) -> ScriptedEngine:
        """The engine of the role from now on."""
        self.engines[role] = ScriptedEngine(self.base, respond)
        return self.engines[role]

    def begin(self, name: PhaseName, iteration: int = 1) -> ActivePhase:
        """The phase, begun."""
        directory = self.directory.phase(iteration, name)
        directory.begin({})
        return ActivePhase(directory, Bar(), self.ctx.config.seed)  # type: ignore[arg-type]

    def leave(self, name: PhaseName, output: str, records: Iterable[Record], iteration: int = 1) -> None:
        """Have an earlier phase finished with these records as its output."""
        directory = self.directory.phase(iteration, name)
        directory.begin({})
        write_jsonl(directory.path / f"{output}.jsonl", (record.as_json() for record in records))
        directory.finish({output: Path(f"{output}.jsonl")}, {})


def rows(phase: ActivePhase, name: str) -> list[dict[str, Any]]:
    """The rows of a file in the phase's folder."""
    return list(read_jsonl(phase.directory.path / f"{name}.jsonl"))


def steps_shown(phase: ActivePhase) -> list[int]:
    """How far the phase's bar came, step by step."""
    assert isinstance(phase.bar, Bar)
    return phase.bar.steps


def summary(phase: ActivePhase) -> dict[str, Any]:
    """What the finished phase says of itself."""
    manifest = phase.directory.manifest()
    assert manifest is not None
    return dict(manifest.summary)
