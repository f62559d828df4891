"""What a base is, whatever its world: how it is pre-trained, on which documents, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from rich.console import Console
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, slots=True)
class Settings:
    """How a base is pre-trained. A world adds what its documents are made with."""

    steps: int
    batch_documents: int = 128
    learning_rate: float = 2e-3
    final_learning_rate_share: float = 0.1
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 1
    start: str | None = None
    """The shipped base that training continues from; None for random weights."""


@dataclass(frozen=True, slots=True)
class Document:
    """A pre-training document; the loss is on the completion and the end-of-text token after it."""

    prompt: str
    completion: str


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class World(Generic[S]):
    """What bases of one domain have in common."""

    domain: str
    documents: Callable[[S, Random], Iterator[Document]]
    """Without end, with every random draw from the stream that is handed over."""

    measure: Callable[[Qwen3ForCausalLM, PreTrainedTokenizerFast, int], Any]
    """What a finished base does, by a seed: a dataclass of figures."""

    show: Callable[[Any, Console], None]
    """Print these figures."""

    measured: str
    """What cards say of them: a template over the card's facts, those of settings and figures by their names."""

    card_values: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """What is worked out of the card's facts for its templates."""


@dataclass(frozen=True, slots=True)
class Base(Generic[S]):
    """A base that ships with the package."""

    name: str
    world: World[S]
    settings: S
    about: str
    """The head of its card, a template as `World.measured`."""

    @property
    def folder_name(self) -> str:
        """What its folder and the facts in its card are called."""
        return f"{self.name}_base"

    def documents(self) -> Iterator[Document]:
        """The documents that it is pre-trained on, the same ones each time."""
        return self.world.documents(self.settings, Random(f"{self.name} base documents {self.settings.seed}"))
