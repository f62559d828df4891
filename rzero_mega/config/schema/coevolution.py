"""The two roles and what goes between them: rewards, votes, written questions, labels and their curation."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.endpoint import LabelAuditConfig
from rzero_mega.config.schema.metadata import (
    EVALUATION,
    FREE,
    IDENTITY,
    Change,
    Fixed,
    Kind,
    choice,
    number,
    of,
    stating,
    value,
)
from rzero_mega.config.schema.training import SamplingConfig, TrainingConfig
from rzero_mega.phase_name import PhaseName


@dataclass
class RepetitionConfig:
    """The repetition penalty: weight * |cluster| / |batch| over clusters of similar questions of one step.

    Questions are similar by BLEU-4 and clustered with average linkage (arXiv 2508.05004, section 3.2).
    """

    weight: float = number(1.0, 0.0)
    """Factor of the penalty, in units of the reward. 0 switches it off (ablation no_repetition)."""

    distance_threshold: float = number(0.5, 0.0, 1.0)
    """Clusters merge while their distance, 1 - BLEU, is below this. Raise it to count looser resemblance."""

    symmetric: bool = True
    """BLEU as the mean of both directions. false: the earlier question as hypothesis, mirrored (official code)."""

    tokenizer: str = choice(
        "whitespace", "character", kind=of(PhaseName.CHALLENGER, PhaseName.QUESTIONS, PhaseName.LABELS)
    )
    """What BLEU counts n-grams of. `character` is for questions of one or two words, which BLEU-4 over words does not
    find alike even when they are identical. Near-duplicates are looked for with it too."""

    mask_numbers: bool = False
    """Compare questions with one sign for every number: a short question with other numbers is far from its model in
    BLEU and pays nothing otherwise. Leave it off where numbers are all that tells questions apart."""


@dataclass
class MemoryConfig:
    """The penalty for asking what earlier iterations asked: weight * (s - threshold) / (1 - threshold).

    s is the greatest similarity of the question to one that a Solver was trained on in an earlier iteration: the
    Jaccard similarity of their n-grams, by `repetition.tokenizer` and `repetition.mask_numbers`. After R-Diverse (arXiv
    2602.13103), which compares embeddings.
    """

    weight: float = number(0.0, 0.0, kind=Kind(Change.IDENTITY, (PhaseName.CHALLENGER,)))
    """What a question that is an earlier one word for word pays, in units of the reward. 0: no memory."""

    threshold: float = number(0.5, 0.0, 0.99)
    """Similarity from which on a question pays. The lower, the longer the search among earlier questions."""

    shingle: int = number(3, 1)
    """Tokens per n-gram. A shorter question resembles only itself."""


@dataclass
class ChallengerRewardConfig:
    """The Challenger's reward: how unsure the Solver is of the question, less the repetition penalty."""

    uncertainty: str = choice("tent", "min", "shortfall", "spread")
    """How unsure the Solver is, by the majority's share p of its samples. tent: 1 - 2|p - 1/2| (paper). min:
    min(p, 1 - p) (official code). In a domain whose answers have scores, by these. shortfall: 1 - their mean (J-Zero).
    spread: twice their standard deviation."""

    unanswered_counts_as_doubt: bool = True
    """p is a share of all samples, as in paper and official code: the Solver counts as unsure of a question that it
    answers alike whenever it is not cut off. false: only other answers are doubt, min(count, answered - count) of the
    samples in place of min(p, 1 - p)."""

    clamp_at_zero: bool = True
    """Raise negative rewards of well-formed questions to 0 (paper). false leaves them negative (official code)."""

    require_boxed: bool = False
    r"""A response is well-formed only with an own answer in \boxed{} besides its question block. Phase 2 has its own
    `questions.require_boxed`."""

    malformed: float = 0.0
    """Reward of a malformed response, and of a question in which a check that is on finds a flaw.
    `clamp_at_zero` leaves it alone."""

    malformed_pays_repetition: bool = False
    """Subtract the repetition penalty from `malformed` too, as the official code does."""

    repetition: RepetitionConfig = field(default_factory=RepetitionConfig)
    """The penalty for asking alike within a step."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """The penalty for asking what earlier iterations asked."""


@dataclass
class VotesConfig:
    """How the frozen Solver votes on a question: its samples are grouped by equivalent answers."""

    samples: int = number(10, 1, fixed=Fixed.PARTS)
    """Answers per question, m: p is a multiple of 1/m. A Challenger's step draws m answers for each of its rollouts."""

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_k=40))
    """How answers are sampled."""

    unanswered: str = choice("denominator", "answer", fixed=Fixed.PARTS)
    """What a sample without an answer (unboxed or cut off) counts as. denominator: in m, never as a vote. answer: as a
    vote for the string "None", which may win, as in the official code; for comparison only."""


@dataclass
class ChallengerConfig:
    """Phase 1: the Challenger learns to write questions against the frozen Solver of the iteration before."""

    train: bool = value(True, IDENTITY)
    """false leaves the phase out: the base model writes the questions of every iteration (ablation
    untrained_challenger)."""

    start: str = choice("previous", "base", kind=Kind(Change.IDENTITY, (PhaseName.CHALLENGER,)))
    """What Q_i is trained from. previous: Q_{i-1} (R-Zero). base: the base model, in every iteration anew, so that a
    Challenger that has narrowed down is left behind. The KL reference is the start."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Steps, rollouts, loss and optimizer."""

    votes: VotesConfig = field(default_factory=VotesConfig)
    """The Solver's answers to each question, from which its uncertainty is taken."""

    reward: ChallengerRewardConfig = field(default_factory=ChallengerRewardConfig)
    """What a question earns."""


@dataclass
class QuestionsConfig:
    """Phase 2: the Challenger writes the questions of this iteration."""

    count: int = number(8000, 1, fixed=Fixed.PARTS)
    """Responses asked for. Well-formed ones become questions; the band keeps a part of these."""

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_p=0.95))
    """How questions are sampled."""

    require_boxed: bool = True
    r"""Keep only questions that come with an own answer in \boxed{}. Nobody trains on that answer."""

    per_part: int = number(1000, 1, fixed=Fixed.PARTS)
    """Responses that are kept together. A kill costs the parts under way. Servers go from one to the next without a
    pause; the embedded engine is filled less well by smaller ones. The random streams are named by part, so that
    another size draws other questions."""


@dataclass
class NearDuplicatesConfig:
    """Questions whose n-grams overlap (Jaccard similarity) with those of an earlier question. Counted in any case."""

    drop: bool = False
    """Drop questions that nearly repeat an earlier one of the same iteration."""

    drop_seen: bool = False
    """Drop questions that nearly repeat one that the Solver was trained on in an earlier iteration."""

    threshold: float = number(0.8, 0.1, 1.0, kind=of(PhaseName.CHALLENGER, PhaseName.LABELS))
    """Jaccard similarity from which on two questions are near-duplicates; 1 means the same n-grams."""

    shingle: int = number(3, 1, kind=of(PhaseName.CHALLENGER, PhaseName.LABELS))
    """Tokens per n-gram, by `challenger.reward.repetition.tokenizer`. A shorter text equals only itself."""


@dataclass
class CurationConfig:
    """A question is kept if p lies in the band and nothing below speaks against it.

    p is the share of all samples that gave the majority's answer, the question's label. In a domain whose answers have
    scores in place of labels, twice the standard deviation of a question's scores is in the place of p.
    """

    low: float = number(0.25, 0.0, 1.0, kind=of(PhaseName.LABELS, PhaseName.EVALUATE))
    """Lower end of the band of p, inclusive. Raise it where the majority of hard questions is mostly wrong."""

    high: float = number(0.75, 0.0, 1.0, kind=of(PhaseName.LABELS, PhaseName.EVALUATE))
    """Upper end of the band of p, inclusive. Above it questions are too easy to learn from. Of scores, which teach the
    more the further they lie apart, set it to 1."""

    band_of: str = choice("all", "solver")
    """Whose votes the band is on. all: p as above. solver: p is the share of the Solver's votes on the question as it
    stands that gave the label, whoever else votes (labels.panel)."""

    minimum_support: int = number(0, 0)
    """Drop questions whose label has fewer votes than this from one of the sources of `labels.panel`."""

    drop_duplicates: bool = True
    """Of questions that are the same but for whitespace, look at the first only."""

    drop_held_out: bool = True
    """Drop questions that `evaluation.benchmarks` ask. Without it accuracy may be memory."""

    near_duplicates: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)
    """Questions that are nearly the same."""

    maximum_per_template: int | None = number(None, 1)
    """Most questions kept that are the same but for their numbers. null: no bound, as where numbers are all that tells
    questions apart. A small share of `questions.count` leaves variation of a form, and not its copying."""

    drop_questions_containing: list[str] = field(default_factory=list)
    """Drop questions that contain one of these texts, whatever the case."""

    drop_answers: list[str] = field(default_factory=list)
    """Drop questions whose label is one of these texts."""

    drop_answers_containing: list[str] = field(default_factory=list)
    """Drop questions whose label contains one of these texts, whatever the case."""

    minimum_kept: int = number(1, 0)
    """The run ends with an error if fewer questions are kept; none is an error at 0 too. With few questions the
    Solver's steps go over them more often."""


@dataclass
class ParaphraseConfig:
    """Questions in other words (`labels.panel.reexpression` paraphrase), written by a model before the votes on them.

    A paraphrase is asked in the question's place if it has the question's numbers, and if the majority of the base
    model's answers to both is the same. Otherwise the question is asked as it stands.
    """

    writer: str = choice("solver", "challenger", fixed=Fixed.PARTS)
    """Who writes them, by `prompts.paraphrase`: S_{i-1}, or Q_i, which wrote the questions."""

    sampling: SamplingConfig = field(
        default_factory=lambda: SamplingConfig(temperature=0.7, top_p=0.95, max_new_tokens=1024)
    )
    """How they are sampled."""

    gate_samples: int = number(5, 1, fixed=Fixed.PARTS)
    """Answers of the base model to a question, and as many to its paraphrase, whose majorities are compared. Drawn by
    `labels.votes.sampling`, and no votes. More of them let fewer wrong paraphrases pass, and cost as much as votes."""


@dataclass
class PanelConfig:
    """Who gives `labels.votes.samples` besides the Solver: what nobody else is given, the Solver votes. All 0: R-Zero.

    Re-expressed questions are the same ones in another form, whose answers are mapped back; a question that has no
    other form is asked as it stands.
    """

    reexpression: str = choice("exact", "paraphrase", fixed=Fixed.PARTS)
    """Which other forms a question has. exact: terms and factors of an expression in another order, or all its signs
    turned around; any other text has none. paraphrase: the question in other words; not measured in a run."""

    paraphrase: ParaphraseConfig = field(default_factory=ParaphraseConfig)
    """Who writes paraphrases, and which are asked."""

    base: int = number(0, 0, fixed=Fixed.PARTS)
    """Votes of the base model."""

    earlier: int = number(0, 0, fixed=Fixed.PARTS)
    """Votes of the Solver of the iteration before the last, S_{i-2}."""

    solver_reexpressed: int = number(0, 0, fixed=Fixed.PARTS)
    """Votes of the Solver on the question re-expressed."""

    base_reexpressed: int = number(0, 0, fixed=Fixed.PARTS)
    """Votes of the base model on the question re-expressed."""

    programs: int = number(0, 0, fixed=Fixed.PARTS)
    """Votes of the Solver by program: it writes one for the question (prompts.program), and the last line that it
    prints is the vote. It is run in a sandbox (extra `programs`). Not measured with a model."""

    @property
    def votes(self) -> int:
        """How many of a question's votes are not the Solver's on the question as it stands."""
        return self.base + self.earlier + self.solver_reexpressed + self.base_reexpressed + self.programs


@dataclass
class GaugesConfig:
    """What tells without any truth how labels fare: after every iteration the Solver answers a fixed set of questions.

    They are the first of the run's own, labelled in iteration 1 by the base model, to whose votes the Solver's are
    held. Nothing is trained on the answers.
    """

    questions: int = number(200, 0)
    """Questions of the set. 0 switches the gauges off. 200 with 10 votes are 2,200 answers, 1 % of those that an
    iteration of the paper's size draws. Agreement in the band, of some 50, is known to about 6 points."""

    votes: int = number(10, 2)
    """Sampled answers to each, by `labels.votes.sampling`, which has to stay as it is for iterations to be compared; a
    greedy one comes on top."""


@dataclass
class LabelsGuardConfig:
    """What becomes of a run whose gauges say that its labels are no longer to be trusted.

    An iteration is sound unless one of the bounds is crossed. The decision is taken when it has been evaluated, stands
    in that phase's manifest, and is not taken again.
    """

    action: str = choice("warn", "off", "widen", "stop", "roll_back")
    """Of an iteration that is not sound. warn: say so. widen: from the next iteration on `labels.guard.panel` votes in
    place of `labels.panel`. stop: end the run, until a bound or the action is changed. roll_back: the next iteration
    starts from the Solver of the last sound one, the base model where there is none; with `solver.start` base that is
    whose votes it starts from. off: nobody looks."""

    least_agreement: float = number(0.7, 0.0, 1.0)
    """Where p̂ lies in the band, the Solver's majority must equal the base's this often. The share follows label
    accuracy. 0: not looked at."""

    greedy_fall: float = number(0.1, 0.0, 1.0)
    """How much less often than after iteration 1 the greedy answer may equal the majority. 1: not looked at."""

    entropy_left: float = number(0.4, 0.0, 1.0)
    """The entropy of the answers to a question must be this share of what it was after iteration 1. 0: not looked
    at."""

    panel: PanelConfig = field(default_factory=PanelConfig, metadata=stating(of(PhaseName.LABELS)))
    """The panel of action widen."""


@dataclass
class TeachingConfig:
    """What a label is expected to teach: 4 p (1 - p) (r - cost (1 - r)).

    p is the share of the Solver's votes on the question as it stands that gave the label, r the estimated probability
    that the label is right (coevolution/confidence.py).
    """

    cost: float = number(1.0, 0.0)
    """What a wrong label costs, in units of what a right one brings. A higher one asks for surer labels, which correct
    less."""

    share: float = number(0.25, 0.0, 1.0)
    """With labels.selection=teaching_value: the share kept of the questions that nothing else speaks against."""


@dataclass
class ReplayConfig:
    """Questions of earlier data sets that are voted on again, and trained on again if their label wins again.

    Against forgetting, as the replay from memory of R-Diverse (arXiv 2602.13103).
    """

    questions: int = number(0, 0, fixed=Fixed.PARTS)
    """How many are asked again, drawn at random from all that earlier iterations kept. Each takes
    `labels.votes.samples` votes beside those on new questions. 0: no replay."""

    band: bool = False
    """Whether the band (`labels.curation.low` to `high`) holds for them too. false: a question may have become easy, as
    long as its label has the most votes and `labels.curation.minimum_support`."""


@dataclass
class LabelsConfig:
    """Phase 3: the majority of a question's votes becomes its label."""

    votes: VotesConfig = field(default_factory=VotesConfig)
    """The answers to each question, whose majority is its label."""

    panel: PanelConfig = field(default_factory=PanelConfig)
    """Whose answers they are."""

    label: str = choice("votes", "truth", kind=IDENTITY)
    """What the Solver is to answer to the questions that the votes choose. votes: the majority's answer. truth: the
    exact answer; a question for which none can be computed is dropped. A diagnostic, which shows what wrong labels
    cost: nothing that evolves by itself has the truth (ablation true_labels)."""

    selection: str = choice("band", "teaching_value")
    """What chooses among questions that nothing else speaks against. band: p lies in that of labels.curation.
    teaching_value: those of the greatest value by labels.teaching, if it is above 0; takes a labels.panel."""

    weighting: str = choice("none", "confidence")
    """Scale of a question's advantages in the Solver's training. confidence: r - cost (1 - r) of labels.teaching, at
    least 0, so that doubtful labels teach less; takes a labels.panel."""

    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    """How selection and weighting value a label."""

    curation: CurationConfig = field(default_factory=CurationConfig)
    """Which labelled questions the Solver is trained on."""

    gauges: GaugesConfig = field(default_factory=GaugesConfig, metadata=stating(EVALUATION))
    """How they fare, without any truth."""

    guard: LabelsGuardConfig = field(default_factory=LabelsGuardConfig, metadata=stating(of(PhaseName.EVALUATE)))
    """What is done about it."""

    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """Earlier questions beside the new ones."""

    audit: LabelAuditConfig = field(default_factory=LabelAuditConfig, metadata=stating(FREE))
    """How many labels are true, by a stronger model's word; for the report alone."""

    abort_decided: bool = False
    """Abort the votes on a question that is out of the band whatever they say: one answer has too many already, or too
    many samples have none. What is kept is the same; p̂ and the lengths of answers to such a question are of the votes
    that there are. For SGLang's servers; the embedded engine draws all."""

    questions_per_part: int = number(1000, 1, fixed=Fixed.PARTS)
    """Questions per part. A kill costs at most the part under way. The random streams are named by part, so that
    another size draws other votes."""


@dataclass
class SolverRewardConfig:
    """accuracy_weight * [answer equals label] + format_weight * [response matches format_pattern]."""

    accuracy_weight: float = 1.0
    """Reward of an answer that equals the label."""

    format_weight: float = 0.0
    """Reward of a response that keeps the format. Above 0 only with a prompt that asks for it."""

    format_pattern: str = r"<think>.*</think>.*\\boxed\{.*\}"
    """The format: literal text, punctuation escaped by a backslash, and `.*`; a response matches from its first
    character on, leading whitespace aside. Change it together with the Solver's prompt."""


@dataclass
class SolverConfig:
    """Phase 4: the Solver learns from the curated questions."""

    start: str = choice("previous", "base", kind=Kind(Change.IDENTITY, (PhaseName.SOLVER,)))
    """What S_i is trained from. previous: S_{i-1} (R-Zero). base: the base model, in every iteration anew, so that
    nothing is forgotten that the data do not make it forget; with `accumulate`, or it learns from one iteration alone.
    The KL reference is the start. Questions are still voted on by S_{i-1}."""

    accumulate: bool = value(False, Kind(Change.IDENTITY, (PhaseName.SOLVER,)))
    """Train S_i on the data sets of iterations 1 to i, each question once; one that two of them label differently is
    left out. The steps stay those of `training.steps`, and go over the data less often."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=15, rollouts_per_prompt=5))
    """Steps, rollouts, loss and optimizer."""

    resampling_rounds: int = number(0, 0)
    """Dynamic sampling (DAPO, arXiv 2503.14476): groups whose rewards are all equal teach nothing, and are replaced by
    groups of further questions that have a signal. These are drawn in at most so many rounds a step, in each as many as
    are missing; what is missing after the last stays as it was. A step draws up to 1 + this times as many rollouts.
    0: off."""

    over_provision: float = number(0.0, 0.0, 1.0, fixed=Fixed.CHECKPOINT)
    """Share of questions that a step asks besides `training.prompts_per_step`. It takes the groups that SGLang's
    servers have whole first; what is unfinished is aborted (`aborted_token_share`) and asked first in the next step.
    Questions with long answers come later for it; those that three steps passed over are waited for. The embedded
    engine draws nothing that isn't taken. 0: off."""

    partial_rollouts: int = number(0, 0, 16, fixed=Fixed.CHECKPOINT)
    """Further steps in which an answer goes on that SGLang's servers had not finished when a step had enough
    (`over_provision`): under newer weights, after the tokens that it has. In the last of them it is waited for, so that
    at most this + 1 versions draw an answer. Nothing is thrown away. Tokens of older weights are corrected one by one
    by `training.grpo.importance_cap` (`staleness`, `stale_token_share`). 0: off."""

    reward: SolverRewardConfig = field(default_factory=SolverRewardConfig)
    """What a response earns."""
