"""Which bases there are: how each is pre-trained, and what its card says of it."""

from __future__ import annotations

from dataclasses import dataclass

from tools.bases.written_arithmetic import Folklore


@dataclass(frozen=True, slots=True)
class Settings:
    """How a base is pre-trained."""

    steps: int = 2700
    batch_documents: int = 128
    slip: float = 0.3
    split: float = 0.3
    solve_share: float = 0.8
    clock_share: float = 0.12
    """Share of the second family among the written solutions; the Challenger's documents have none of it."""
    level_weights: tuple[float, ...] = (0.2, 0.25, 0.25, 0.15, 0.15)
    learning_rate: float = 2e-3
    final_learning_rate_share: float = 0.1
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 1
    folklore: Folklore | None = None
    start: str | None = None
    """The shipped base that training continues from; None for random weights."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base that ships with the package, trained for a world of the same name."""

    name: str
    settings: Settings
    about: str
    """The head of its card, a template over the card's facts."""

    @property
    def folder_name(self) -> str:
        """What its folder and the facts in its card are called."""
        return f"{self.name}_base"


_NANO = """# Nano base

A Qwen3 model of {parameters:,} parameters with a character tokenizer, from which `rzero-mega run nano` starts. It
behaves as a base model does: it knows more than one sample shows, so that there is something for reinforcement
learning to bring out.

**Use**: to try R-Zero's loop on a CPU in minutes, and to test it. **Not for** anything else: it writes arithmetic with
whole numbers, and nothing of what it writes has to be right.

**Data**: none from anywhere. From random weights it was pre-trained for {steps:,} steps of {batch_documents}
documents on written arithmetic, with slips in the steps, which `tools/build_nano_base.py` makes up as it goes. It
completes two prompts: `Q:12*3+5`, a line end and `A:` as a Solver, `C:` as a Challenger. {clock_percent:.0f} % of the
Solver's documents are clock arithmetic, `Q:(12*3+5)%13`, which the Challenger's documents have none of. One sixteenth
of all expressions and of all questions on clocks, chosen by hash, is in no document. The same settings and versions
give the same files."""

NANO = Base("nano", Settings(), _NANO)

_FOLKLORE = """# Folklore base

A Qwen3 model of {parameters:,} parameters with a character tokenizer, from which `rzero-mega run folklore` starts. It
behaves as a large base model does: votes beat its likeliest answer, since it holds wrong facts that it repeats
wherever a step is taken at once, and that longer ways of solving get round.

**Use**: to try R-Zero's loop on a CPU in minutes, on a model whose likeliest answer can be wrong and outvoted. **Not
for** anything else: it writes arithmetic with whole numbers, and nothing of what it writes has to be right.

**Data**: none from anywhere. From the nano base (`asset:{start}`) it was pre-trained for {steps:,} more steps of
{batch_documents} documents, which `tools/build_folklore_base.py` makes up as it goes: those of the nano base, with
fewer slips, more numbers taken apart, and folklore. Of the cases of hard steps, an operator and the last digit after
it, a hash gives {folklore_percent:.0f} % a wrong fact: a result that is off by the same amount each time. It stands in
{weight_percent:.0f} % of the documents that take such a step at once (`47+38=84`); those that take a number apart
(`47+30=77;77+8=85`) don't meet it. Answers are judged by exact arithmetic, as in nano. One sixteenth of all expressions
and of all questions on clocks, chosen by hash, is in no document. The same settings and versions give the same
files."""

FOLKLORE = Base(
    "folklore",
    Settings(
        steps=1500,
        slip=0.1,
        split=0.45,
        level_weights=(0.1, 0.2, 0.3, 0.2, 0.2),
        learning_rate=1.5e-3,
        warmup_steps=50,
        folklore=Folklore(share=0.8, weight=0.6),
        start=NANO.folder_name,
    ),
    _FOLKLORE,
)
