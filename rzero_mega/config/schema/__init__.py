"""The whole configuration, as dataclasses, by subject. Nothing here imports torch.

Defaults are those of the paper (arXiv 2508.05004v4), and of the official code (Chengsong-Huang/R-Zero at 5699329) where
the paper is silent. Every field has a docstring, which `rzero-mega config --explain KEY` prints, and `metadata` with
what `validate.py` checks and what a run that has begun allows of it.
"""

from rzero_mega.config.schema.checks import CHECK_LABELS, ChecksConfig
from rzero_mega.config.schema.coevolution import (
    ChallengerConfig,
    ChallengerRewardConfig,
    CurationConfig,
    GaugesConfig,
    LabelsConfig,
    LabelsGuardConfig,
    MemoryConfig,
    NearDuplicatesConfig,
    PanelConfig,
    ParaphraseConfig,
    QuestionsConfig,
    RepetitionConfig,
    ReplayConfig,
    SolverConfig,
    SolverRewardConfig,
    TeachingConfig,
    VotesConfig,
)
from rzero_mega.config.schema.critic import ComparingConfig, CriticConfig, CriticGateConfig
from rzero_mega.config.schema.endpoint import EndpointConfig, JudgeConfig, LabelAuditConfig
from rzero_mega.config.schema.labelled import LabelledConfig
from rzero_mega.config.schema.learner import (
    CheckpointConfig,
    Fp8Config,
    GuardConfig,
    LayoutConfig,
    LearnerConfig,
    LoraConfig,
    WarnConfig,
)
from rzero_mega.config.schema.rollout import RolloutConfig, SglangConfig, VerifyConfig, WeightsConfig
from rzero_mega.config.schema.root import NO_ABLATION, Config, ModelConfig, PromptsConfig
from rzero_mega.config.schema.run import (
    EvaluationConfig,
    GradingConfig,
    PlacementConfig,
    PrometheusConfig,
    ProtocolConfig,
    RunConfig,
    TrackingConfig,
)
from rzero_mega.config.schema.training import (
    AdvantageConfig,
    AverageConfig,
    GrpoConfig,
    LossConfig,
    OptimizerConfig,
    PairwiseConfig,
    SamplingConfig,
    SftConfig,
    TrainingConfig,
    WarmUpConfig,
)
from rzero_mega.config.schema.verifier import VerifierConfig, VerifierGateConfig

__all__ = [
    "CHECK_LABELS",
    "NO_ABLATION",
    "AdvantageConfig",
    "AverageConfig",
    "ChallengerConfig",
    "ChallengerRewardConfig",
    "CheckpointConfig",
    "ChecksConfig",
    "ComparingConfig",
    "Config",
    "CriticConfig",
    "CriticGateConfig",
    "CurationConfig",
    "EndpointConfig",
    "EvaluationConfig",
    "Fp8Config",
    "GaugesConfig",
    "GradingConfig",
    "GrpoConfig",
    "GuardConfig",
    "JudgeConfig",
    "LabelAuditConfig",
    "LabelledConfig",
    "LabelsConfig",
    "LabelsGuardConfig",
    "LayoutConfig",
    "LearnerConfig",
    "LoraConfig",
    "LossConfig",
    "MemoryConfig",
    "ModelConfig",
    "NearDuplicatesConfig",
    "OptimizerConfig",
    "PairwiseConfig",
    "PanelConfig",
    "ParaphraseConfig",
    "PlacementConfig",
    "PrometheusConfig",
    "PromptsConfig",
    "ProtocolConfig",
    "QuestionsConfig",
    "RepetitionConfig",
    "ReplayConfig",
    "RolloutConfig",
    "RunConfig",
    "SamplingConfig",
    "SftConfig",
    "SglangConfig",
    "SolverConfig",
    "SolverRewardConfig",
    "TeachingConfig",
    "TrackingConfig",
    "TrainingConfig",
    "VerifierConfig",
    "VerifierGateConfig",
    "VerifyConfig",
    "VotesConfig",
    "WarmUpConfig",
    "WarnConfig",
    "WeightsConfig",
]
