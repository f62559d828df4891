"""Build the rewriting base: a Qwen3 model of 0.8 million parameters that writes rows of words again, with faults.

It is pre-trained on rows that somebody wrote who hurries: words forgotten, repeated, misspelt or out of order, rows
that end early. So its answers are better or worse, there is hidden quality to gain and to lose, and a score that wants
short rows can be exploited. Tasks of the benchmark are in no document. The same settings on the same machine and
library versions give the same files. ``python -m tools.build_rewriting_base rzero_mega/assets/rewriting_base`` rebuilds
the checkpoint that ships.
"""

from __future__ import annotations

import typer

from tools.bases.build import command
from tools.bases.rewriting.bases import REWRITING

if __name__ == "__main__":
    typer.run(command(REWRITING))
