"""The card of a trained model, made from its run: what it is, how to ask it, what it was trained on, how good it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import jinja2
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from rzero_mega import __version__
from rzero_mega.config import Config
from rzero_mega.config.kinds import changes_between, kinds, values_of
from rzero_mega.config.schema.labelled import VOTES
from rzero_mega.config.schema.metadata import Change
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.prompts import prompt_name
from rzero_mega.domains.registry import domain_of
from rzero_mega.evaluation.formats import as_markdown
from rzero_mega.phase_name import PhaseName
from rzero_mega.release.folder import TRAINED_PROMPT, TRAINED_TEMPLATE, generation_config
from rzero_mega.release.licence import Licence
from rzero_mega.release.trained_model import TrainedModel, TrainedPrompt
from rzero_mega.rollout.chat_template import beginning, rendered
from rzero_mega.rollout.tokenization import load_tokenizer
from rzero_mega.tracking import run_status
from rzero_mega.tracking.results import run_results
from rzero_mega.tracking.status import IterationStatus, RunStatus
from rzero_mega.tracking.summaries import NOTHING, duration, percent
from rzero_mega.tracking.words import diagnostic_text

QUESTION = "{question}"
_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_FENCE = re.compile(r"`{3,}")


@dataclass(frozen=True)
class Base:
    """The model that the run began with: how the run names it, its name on the hub, and its licence, where known."""

    path: str
    hub_name: str | None
    licence: Licence | None

    @property
    def shown(self) -> str:
        """Its name for readers, without the folders of the machine that it lay on."""
        return self.hub_name or (PurePath(self.path).name if self.path.startswith(("/", ".", "~")) else self.path)


def base_of(config: Config, hub_name: str | None, licence: Licence | None) -> Base:
    """`hub_name` stands for the one that the configuration has, if it has any."""
    path = config.model.path
    named = path if _HUB_NAME.fullmatch(path) and not Path(path).is_dir() else None
    return Base(path, hub_name or named, licence)


def card(trained: TrainedModel, folder: Path, base: Base) -> str:
    """The README.md of the model in `folder`, which has its prompt and template already."""
    config, status = trained.run.config, run_status(trained.run)
    scored = isinstance(domain_of(config).answers, ScoredAnswers) and config.labelled.method == VOTES
    prompt, tokenizer = trained.prompt(), load_tokenizer(folder)
    shown = _shown_prompt(tokenizer, (folder / TRAINED_TEMPLATE).read_text(encoding="utf-8"))
    environment = Environment(
        loader=PackageLoader("rzero_mega.release"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("card.md.j2").render(
        front_matter=_front_matter(base, config),
        trained=trained,
        base=base,
        prompt=prompt,
        has_template=shown is not None,
        prompt_shown=_fenced(_plain_prompt(prompt) if shown is None else shown),
        prompt_file=_fenced(prompt.text.strip("\n"), "yaml"),
        trained_prompt=TRAINED_PROMPT,
        trained_template=TRAINED_TEMPLATE,
        generation=generation_config(folder, prompt.sampling),
        other_prompt=_value(prompt_name(config, "challenger" if trained.role == "solver" else "solver")),
        benchmarks=_value(config.evaluation.benchmarks),
        labelled=_labelled(trained),
        scored=scored,
        diagnostic=diagnostic_text(config),
        training=(config.solver if trained.role == "solver" else config.challenger).training,
        accuracies=_accuracies(trained),
        table=[_row(row, scored) for row in status.iterations],
        settings=_settings(config),
        changes=[str(change) for change in status.values],
        config=config,
        gpu_hours=_gpu_hours(config, status),
        seconds=duration(status.seconds),
        versions=", ".join(f"{name} {release}" for name, release in trained.run.info.versions.items()),
        release=__version__,
        run_id=trained.run.info.id,
    )


def _front_matter(base: Base, config: Config) -> str:
    head: dict[str, Any] = {}
    if base.licence is not None:
        head["license"] = base.licence.identifier
        head |= {
            key: text
            for key, text in (("license_name", base.licence.name), ("license_link", base.licence.link))
            if text is not None
        }
    if base.hub_name is not None:
        head |= {"base_model": base.hub_name, "base_model_relation": "finetune"}
    method = config.labelled.method
    how = ["r-zero", "self-play", "grpo"] if method == VOTES else [method]
    head |= {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rzero_mega", *how, "reasoning"],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip("\n")


def _labelled(trained: TrainedModel) -> dict[str, Any] | None:
    """What the card says of labelled data; None where the labels were votes."""
    labelled = trained.run.config.labelled
    if labelled.method == VOTES:
        return None
    manifest = trained.run.phase(trained.iteration, PhaseName.SOLVER).manifest()
    summary = manifest.summary if manifest is not None else {}
    dropped = summary.get("dropped", {})
    return {
        "method": labelled.method,
        "data": PurePath(str(labelled.data)).name,
        "examples": summary.get("examples", NOTHING),
        "sha256": trained.run.info.texts.get("labelled.data", NOTHING),
        "dropped": ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or NOTHING,
    }


def _shown_prompt(tokenizer: Any, template: str) -> str | None:
    """What the template makes of a message; None of one that stands there because there is none."""
    try:
        return rendered(tokenizer, template, QUESTION).removeprefix(beginning(tokenizer))
    except jinja2.TemplateError:
        return None


def _plain_prompt(prompt: TrainedPrompt) -> str:
    return prompt.template.plain(**({"question": QUESTION} if prompt.takes_question else {}))


def _fenced(text: str, kind: str = "") -> str:
    """A block of code that the text can't end."""
    longest = max((len(match) for match in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


def _row(row: IterationStatus, scored: bool) -> dict[str, str]:
    """Of an iteration: how its Solver did, what it was trained on, and how long it took."""
    trained_on = {"label accuracy": percent(row.label_accuracy)}
    if scored:
        score, quality = (None, None) if row.scores is None else (row.scores.score, row.scores.quality)
        trained_on = {"score": percent(score), "hidden quality": percent(quality)}
    return {
        "iteration": "base" if row.iteration == 0 else str(row.iteration),
        "mean": percent(row.pass1_mean),
        "greedy": percent(row.pass1_greedy),
        **trained_on,
        "questions kept": NOTHING if row.kept_questions is None else f"{row.kept_questions:,}",
        "time": duration(sum(row.seconds.values())) if row.seconds else NOTHING,
    }


def _accuracies(trained: TrainedModel) -> str | None:
    """Every benchmark with intervals, and the differences from the base; None where nothing was evaluated."""
    results = run_results(trained.run)
    return None if results is None else as_markdown(results.table, results.paper).rstrip("\n")


def _settings(config: Config) -> list[tuple[str, str, str]]:
    """(key, the paper preset's value, this run's) where they differ and the result depends on it."""
    shown = []
    for change in changes_between(values_of(Config()), values_of(config)):
        if change.key != "recipe" and kinds()[change.key].change is not Change.OPERATIONAL:
            shown.append((change.key, _value(change.before), _value(change.after)))
    return shown


def _value(value: Any) -> str:
    """A value in a table, without the folders of a machine."""
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = PurePath(text).name if text.startswith(("/", "./", "../", "~")) else text
    return " ".join(text.split()).replace("|", "\\|")


def _gpu_hours(config: Config, status: RunStatus) -> str | None:
    """Wall time on all GPUs that the configuration has; None for one that is meant for CPUs."""
    if config.rollout.dtype == "float32":
        return None
    gpus = config.placement.nodes * config.placement.gpus_per_node
    return f"{status.seconds * gpus / 3600:.1f} on {gpus} GPUs"
