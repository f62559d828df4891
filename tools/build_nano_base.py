"""Build the nano base: a Qwen3 model of 0.8 million parameters that behaves like a real base model.

It is pre-trained on written arithmetic whose steps contain slips, so its mode is better than its samples: voting beats
a single sample, and there is hidden capability for reinforcement learning to bring out. Numbers are sometimes taken
apart, so there are several ways to an answer, and the longer ones are safer. Held-out expressions never occur in the
documents, neither as a question nor as a written step. The same settings on the same machine and library versions give
the same files. ``python -m tools.build_nano_base rzero_mega/assets/nano_base`` rebuilds the checkpoint that ships.
"""

from __future__ import annotations

import typer

from tools.bases.arithmetic.bases import NANO
from tools.bases.build import command

if __name__ == "__main__":
    typer.run(command(NANO))
