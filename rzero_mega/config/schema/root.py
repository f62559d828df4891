"""The whole configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.preset_files import ablation_names
from rzero_mega.config.schema.checks import ChecksConfig
from rzero_mega.config.schema.coevolution import ChallengerConfig, LabelsConfig, QuestionsConfig, SolverConfig
from rzero_mega.config.schema.critic import COMPARED, GENERATIVE_FORM, CriticConfig
from rzero_mega.config.schema.labelled import LabelledConfig
from rzero_mega.config.schema.learner import LearnerConfig
from rzero_mega.config.schema.metadata import (
    FREE,
    IDENTITY,
    LABELLING,
    NAMED,
    Change,
    Kind,
    PathIf,
    Switch,
    choice,
    number,
    of,
    path,
    stating,
    value,
)
from rzero_mega.config.schema.rollout import RolloutConfig, WeightsConfig
from rzero_mega.config.schema.run import (
    EvaluationConfig,
    GradingConfig,
    PlacementConfig,
    RunConfig,
    TrackingConfig,
)
from rzero_mega.config.schema.verifier import VerifierConfig
from rzero_mega.phase_name import PhaseName

NO_ABLATION = "none"
VERIFIER_TRAIN, CRITIC_TRAIN = Switch("verifier.train"), Switch("critic.train")


@dataclass
class ModelConfig:
    """The base model that both roles grow from. Families: Qwen3 (dense and mixtures of experts), Qwen2, Llama."""

    path: str = path("Qwen/Qwen3-8B-Base", NAMED, PathIf.FOLDER)
    """A folder in Hugging Face format, a hub name (OWNER/NAME), `asset:NAME` for a model shipped with the package, or
    `gguf:PACKAGE` for a GGUF file inside an installed Python package. On nodes without internet, a folder."""

    revision: str | None = value(None, NAMED)
    """Branch, tag or commit of a hub model. null: its main branch; set a commit for runs to be repeated."""


@dataclass
class PromptsConfig:
    """One prompt file per role. null: the domain's own."""

    challenger: str | None = path(None, NAMED, PathIf.YAML)
    """Prompt that asks for questions: a file's name in a folder `prompts` below `rzero_mega/domains/`, or the path of a
    YAML file."""

    solver: str | None = path(None, NAMED, PathIf.YAML)
    """Prompt around a question, for votes, training and evaluation: a name or a path likewise."""

    paraphrase: str | None = path(None, LABELLING, PathIf.YAML)
    """Prompt that asks for a question in other words (`labels.panel.reexpression`): a name or a path likewise."""

    program: str | None = path(None, LABELLING, PathIf.YAML)
    """Prompt that asks for a program that answers a question (`labels.panel.programs`): a name or a path likewise."""

    verifier: str | None = path(
        None,
        Kind(Change.IDENTITY, (PhaseName.LABELS, PhaseName.VERIFIER), named=True, switch=VERIFIER_TRAIN),
        PathIf.YAML,
    )
    """Prompt that asks whether an answer is right (`verifier`): a name or a path likewise."""

    critic: str | None = path(
        None, Kind(Change.IDENTITY, COMPARED.phases, named=True, switch=GENERATIVE_FORM), PathIf.YAML
    )
    """Prompt that asks which of two answers is better (`critic.form: generative`): a name or a path likewise."""


@dataclass
class Config:
    """Everything that decides a run."""

    recipe: str = value("custom", IDENTITY)
    """What the recipe is called: part of the run's name, and the group in W&B."""

    seed: int = number(0, 0, kind=IDENTITY)
    """Names every random stream. Runs with several seeds tell gains from noise."""

    iterations: int = number(3, 1, 100_000, kind=FREE)
    """Iterations of Challenger, questions, labels and Solver. Raising it goes on with a finished run."""

    ablation: str = choice(NO_ABLATION, *ablation_names(), kind=IDENTITY)
    """An ablation, by name: its values (`rzero_mega/config/presets/ablations/`) lie under what names it says itself.
    Part of the run's name."""

    domain: str = value("mathematics", NAMED)
    """What questions and answers are of: a folder in `rzero_mega/domains/`, mathematics, arithmetic or rewriting, or a
    domain of another package, by the name of its entry point. It says how they are read, who judges, and how roles are
    asked."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The base model."""

    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    """How the roles are asked."""

    challenger: ChallengerConfig = field(default_factory=ChallengerConfig, metadata=stating(of(PhaseName.CHALLENGER)))
    """Phase 1: the Challenger's training."""

    questions: QuestionsConfig = field(default_factory=QuestionsConfig, metadata=stating(of(PhaseName.QUESTIONS)))
    """Phase 2: the questions that the Challenger writes."""

    labels: LabelsConfig = field(default_factory=LabelsConfig, metadata=stating(of(PhaseName.LABELS)))
    """Phase 3: the Solver's votes on them, and which are kept."""

    checks: ChecksConfig = field(
        default_factory=ChecksConfig, metadata=stating(of(PhaseName.CHALLENGER, PhaseName.LABELS))
    )
    """Ways to earn without a hard question, closed in phases 1 and 3."""

    verifier: VerifierConfig = field(
        default_factory=VerifierConfig, metadata=stating(of(PhaseName.VERIFIER), switch=VERIFIER_TRAIN)
    )
    """A third role between phases 3 and 4, off by default: it learns which answers are right."""

    critic: CriticConfig = field(
        default_factory=CriticConfig, metadata=stating(of(PhaseName.CRITIC), switch=CRITIC_TRAIN)
    )
    """A third role in the same place, where answers have scores; off by default: it learns which of two is better."""

    solver: SolverConfig = field(default_factory=SolverConfig, metadata=stating(of(PhaseName.SOLVER)))
    """Phase 4: the Solver's training."""

    labelled: LabelledConfig = field(default_factory=LabelledConfig)
    """Labelled data for the Solver's training, in place of phases 1 to 3."""

    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """What trains: processes, layout, precision, memory, checkpoints."""

    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    """What draws the rollouts."""

    weights: WeightsConfig = field(default_factory=WeightsConfig, metadata=stating(FREE))
    """How weights go from the one to the other."""

    placement: PlacementConfig = field(default_factory=PlacementConfig, metadata=stating(FREE))
    """Nodes and GPUs."""

    grading: GradingConfig = field(default_factory=GradingConfig)
    """The processes that compare answers."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Phase 5: accuracy of the Solver."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig, metadata=stating(FREE))
    """W&B and the report."""

    run: RunConfig = field(default_factory=RunConfig, metadata=stating(FREE))
    """The run directory."""
