"""Tests by room. Programs that tests start run as `python -m tests.ROOM.PROGRAM` in ROOT."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
