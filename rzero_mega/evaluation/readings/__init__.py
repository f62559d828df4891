"""How responses are read and judged, one file per way."""

from __future__ import annotations

from rzero_mega.evaluation.readings.choices import Choices
from rzero_mega.evaluation.readings.mathematics import Mathematics
from rzero_mega.evaluation.readings.reading import Reading
from rzero_mega.evaluation.readings.text import Text

READINGS: dict[str, Reading] = {"mathematics": Mathematics(), "choices": Choices(), "text": Text()}

__all__ = ["READINGS", "Choices", "Mathematics", "Reading", "Text"]
