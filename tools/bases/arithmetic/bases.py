"""The nano base and the folklore base: how each is pre-trained, and what its card says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.bases.arithmetic.documents import documents
from tools.bases.arithmetic.measuring import measure, print_measurement
from tools.bases.arithmetic.settings import ArithmeticSettings
from tools.bases.arithmetic.written import Folklore
from tools.bases.base import Base, World

_MEASURED = """**Measured** on {problems} held-out expressions of two to four operands (levels 1 to 5), in percent:

{arithmetic_table}

and on {clock_problems} held-out questions of clock arithmetic (expressions of levels 1 to 3 on a clock):

{clock_table}

Greedy decoding is right on {more_greedy:.1f} % of {more_problems:,} other held-out expressions. Of
{questions_sampled:,} questions {well_formed:.1f} % are well-formed and {distinct:.1f} % of these distinct."""


def _card_values(facts: Mapping[str, Any]) -> dict[str, Any]:
    settings, measured = facts["settings"], facts["measured"]
    folklore = settings["folklore"] or {"share": 0, "weight": 0}
    return {
        "problems": measured["arithmetic"]["overall"]["problems"],
        "arithmetic_table": _table(measured["arithmetic"], measured["votes"]),
        "clock_problems": measured["clock"]["overall"]["problems"],
        "clock_table": _table(measured["clock"], measured["votes"]),
        "clock_percent": 100 * settings["clock_share"],
        "folklore_percent": 100 * folklore["share"],
        "weight_percent": 100 * folklore["weight"],
        "more_problems": measured["more"]["problems"],
        "more_greedy": 100 * measured["more"]["greedy"],
        "well_formed": 100 * measured["questions_well_formed"],
        "distinct": 100 * measured["questions_distinct"],
    }


def _table(family: Mapping[str, Any], votes: int) -> str:
    levels = {**family["levels"], "all": family["overall"]}
    rows = [
        f"| {name} | {100 * row['mean_sampled']:.1f} | {100 * row['greedy']:.1f} | {100 * row['vote']:.1f} |"
        for name, row in levels.items()
    ]
    head = f"| level | mean of {votes} samples | greedy | vote of {votes} |"
    return "\n".join([head, "|---|---|---|---|", *rows])


ARITHMETIC = World("arithmetic", documents, measure, print_measurement, _MEASURED, _card_values)

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

NANO = Base("nano", ARITHMETIC, ArithmeticSettings(steps=2700), _NANO)

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
    ARITHMETIC,
    ArithmeticSettings(
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
