"""Updates that fail in several processes, and their replays: `python -m tests.learner.guard_ranks CASES.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega import spmd  # noqa: E402
from rzero_mega.commands.replay import open_replay, run_replay  # noqa: E402
from rzero_mega.config import Config, load_config  # noqa: E402
from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.errors import UserError  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.policy_model import bare  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases.context import ActivePhase, RunContext  # noqa: E402
from rzero_mega.phases.failures import FailurePolicy  # noqa: E402
from rzero_mega.phases.runner import open_run  # noqa: E402
from rzero_mega.run.stop import StopRequest  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.learner.ranks import rollouts  # noqa: E402

STEP = 2


@dataclass(frozen=True)
class GuardCase(LayoutCase):
    """Train `model` for two steps, with one element of the weight `spoil` made NaN on the last rank before the second.

    With `backward` the module's backward gives NaN instead. A case with `replay` replays that failed update alone.
    `run` is the folder of the run.
    """

    model: str = ""
    run: str = ""
    spoil: str | None = None
    backward: str | None = None
    replay: str | None = None
    overrides: list[str] = field(default_factory=list)

    @property
    def settings(self) -> list[str]:
        """The case's layout as overrides."""
        keys = ("tp", "pp", "ep", "etp", "cp", "vpp", "sequence_parallel")
        layout = {key: getattr(self, key) for key in keys}
        return [
            f"learner.processes={self.processes}",
            *(f"learner.layout.{key}={json.dumps(value)}" for key, value in layout.items()),
        ]


def run_cases(cases: Sequence[GuardCase], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What every rank of every case found."""
    run_program(__name__, cases, folder)
    return {
        case.name: [json.loads((folder / f"{case.name}-{rank}.json").read_text()) for rank in range(case.processes)]
        for case in cases
    }


def configuration(case: GuardCase) -> Config:
    return load_config(
        overrides=[
            f"model.path={case.model}",
            "learner.dtype=float32",
            "learner.tokens_per_micro_batch=64",
            "challenger.training.sampling.max_new_tokens=30",
            "solver.training.sampling.max_new_tokens=30",
            "solver.training.prompts_per_step=3",
            "solver.training.rollouts_per_prompt=3",
            "solver.training.grpo.sequences_per_update=3",
            "run.minimum_free_mb=0",
            *case.settings,
            *case.overrides,
        ]
    )


def _run(case: GuardCase, folder: Path) -> None:
    found = _replay(case) if case.replay else _fail(case)
    (folder / f"{case.name}-{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    torch.distributed.barrier()


def _replay(case: GuardCase) -> dict[str, Any]:
    return {"lines": run_replay(open_replay(Path(str(case.replay)), None, case.settings))}


def _fail(case: GuardCase) -> dict[str, Any]:
    config = configuration(case)
    training = config.solver.training
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, 0)
    model = Path(case.model)
    learner = Learner(model, layout, config.learner, training.grpo, training.optimizer, 30)
    learner.train_step(rollouts(1, learner.shape.vocab))
    _spoil(case, learner)
    run = open_run(Path(case.run), config)
    untouched: Any = None
    ctx = RunContext(
        config, untouched, untouched, None, run, layout, model, progress=untouched, wandb=None, stop=StopRequest()
    )
    phase = ActivePhase(run.phase(1, PhaseName.SOLVER), untouched, config.seed)
    spmd.on_rank_0(phase.directory.begin, {})
    policy = FailurePolicy(ctx, phase, learner)
    before = _weights(learner)
    found: dict[str, Any] = {"error": None, "kind": None, "skipped": None}
    try:
        metrics = learner.train_step(rollouts(STEP, learner.shape.vocab), policy.at(STEP))
        found["skipped"] = metrics.skipped_updates
    except UserError as error:
        found |= {"error": str(error), "kind": type(error).__name__}
    found["unchanged"] = all(torch.equal(_weights(learner)[name], tensor) for name, tensor in before.items())
    return found


def _spoil(case: GuardCase, learner: Learner) -> None:
    parameters = learner._model.parameters
    if case.spoil in parameters and torch.distributed.get_rank() == torch.distributed.get_world_size() - 1:
        parameters[case.spoil].data.view(-1)[5] = math.nan
    modules = dict(bare(learner._model.chunks[0]).named_modules())
    if case.backward in modules and spmd.rank() == 0:
        modules[case.backward].register_full_backward_hook(
            lambda _module, inputs, _outputs: tuple(g if g is None else g * math.nan for g in inputs)
        )


def _weights(learner: Learner) -> dict[str, Tensor]:
    return {name: weight.nan_to_num(7.0).clone() for name, weight in learner._model.local_weights().items()}


if __name__ == "__main__":
    main(GuardCase, _run)
