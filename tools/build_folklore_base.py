"""Build the folklore base: the nano base, trained on with documents that hold persistent wrong facts.

A large base model's likeliest answer is often wrong where the vote of its samples is right: it repeats a mistake
where it answers at once, and gets round it where it takes more steps. Here a hash says which hard steps come out wrong,
always in the same way, when they are taken at once; taking a number apart avoids them. What else holds is as in
`tools/build_nano_base.py`. ``python -m tools.build_folklore_base rzero_mega/assets/folklore_base`` rebuilds the
checkpoint that ships.
"""

from __future__ import annotations

import typer

from tools.bases.arithmetic.bases import FOLKLORE
from tools.bases.build import command

if __name__ == "__main__":
    typer.run(command(FOLKLORE))
