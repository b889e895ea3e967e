"""The part of a round's plan that says how a policy is rewarded.

It covers the training of the reward model on judgments, and how its score and those of other
rewards are combined. What a step does is left to the worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.bounds import between, optional, training
from app.domain.judged_by import JudgedBy
from app.domain.lora import Lora
from app.domain.repeats import repeated
from app.domain.reward_parts import (
    LEARNED,
    RULES,
    LabelerWeight,
    PairLoss,
    PartKind,
    RewardPart,
    ScoreForm,
    Weighing,
    WeightSource,
)
from app.domain.step_counts import StepCount, count_steps, look_interval, looks_within
from app.errors import Invalid

PARTS_MOST = 8
LOOKS = 10
"""Evaluations of a run on the held-out comparisons, if there is time for as many."""

STEPS_WANTED, EPOCHS_MOST = 100, 6
"""Without a number of epochs, as many as give this many steps, within the limit."""


class Combination(StrEnum):
    """How the parts of the reward become one number."""

    SUM = "sum"  # each part times its weight
    SAFETY_FIRST = "safety_first"  # an unsafe response counts by its safety alone


@dataclass(frozen=True, slots=True)
class RewardPlan:
    """Training of the reward model on judgments, and the combination of rewards.

    The batch size counts comparisons. A `learning_rate` of None is chosen by a search before the
    training, which may take `search_share` of its time (0: the usual rate for the model's size),
    and `epochs` of None from the number of comparisons. The model is evaluated on held-out
    comparisons every `evaluate_every` steps (None: ten times in the run, or as often as fits in
    15 % of its time), and training stops after `patience` evaluations without improvement (0:
    never). `labelers` weighs the votes of the labelers it
    names, and all others weigh 1; None stands for the project's weights, which a round takes when
    it is launched.

    The policy's reward is `weight` times the learned reward plus the `parts`. With a weight of 0 no
    reward model is fitted and nobody is asked for judgments, unless `fits_unweighted`, which fits
    one that is only measured.

    With `combination` safety first, `safety` names the part, or the learned reward, that says how
    probably a response is safe. Where that is below `safety_threshold`, or the prompt has one of
    the `safety_tags`, the safety score is the reward; elsewhere the sum of the other models is.
    Rules are added to either.

    `judged_by` says whose judgments the model learns from. With `label_value`, models are also
    fitted to parts of them, to forecast what more would bring.
    """

    epochs: int | None = None
    batch_size: int = 16
    max_steps: int | None = None
    learning_rate: float | None = None
    search_share: float = 0.2
    ensemble: int = 1
    loss: PairLoss = PairLoss.PAIRS
    weighing: Weighing = Weighing.EQUAL
    labelers: tuple[LabelerWeight, ...] | None = None
    labelers_from: WeightSource = WeightSource.PLAN
    use_margin: bool = False
    label_smoothing: float = 0.0
    centering: float = 0.01
    max_tokens: int = 1024
    normaliser_prompts: int = 64
    evaluate_every: int | None = None
    patience: int = 3
    weight: float = 1.0
    fits_unweighted: bool = False
    parts: tuple[RewardPart, ...] = ()
    combination: Combination = Combination.SUM
    safety: str = ""
    safety_threshold: float = 0.15
    safety_tags: tuple[str, ...] = ()
    judged_by: JudgedBy = JudgedBy.HUMAN
    label_value: bool = False
    lora: Lora = field(default_factory=Lora)

    def __post_init__(self) -> None:
        training("reward", self.epochs, self.batch_size, self.learning_rate)
        between("reward search_share", self.search_share, 0.0, 1.0)
        optional("reward max_steps", self.max_steps, 1, 10_000_000)
        between("reward ensemble", self.ensemble, 1, 16)
        between("reward label_smoothing", self.label_smoothing, 0.0, 0.49)
        between("reward centering", self.centering, 0.0, 1.0)
        between("reward max_tokens", self.max_tokens, 8, 1_000_000)
        between("reward normaliser_prompts", self.normaliser_prompts, 2, 100_000)
        optional("reward evaluate_every", self.evaluate_every, 1, 1_000_000)
        between("reward patience", self.patience, 0, 10_000)
        self._check_labelers()
        self._check_parts()
        self._check_combination()

    @property
    def titles(self) -> tuple[str, ...]:
        """The name of each part in curves and reports."""
        return tuple(part.title(number) for number, part in enumerate(self.parts, start=1))

    @property
    def curves(self) -> tuple[str, ...]:
        """The names of the scores that are combined; empty if there is only the learned one."""
        if not self.parts:
            return ()
        is_fitted = self.weight or self.fits_unweighted
        return (LEARNED, *self.titles) if is_fitted else self.titles

    def epochs_for(self, comparisons: int) -> int:
        """Return the number of epochs: that of the plan, or as many as give enough steps."""
        if self.epochs is not None:
            return self.epochs
        per_epoch = count_steps(comparisons, self.batch_size, 1).per_epoch
        return max(1, min(EPOCHS_MOST, -(-STEPS_WANTED // per_epoch)))

    def steps(self, comparisons: int) -> StepCount:
        """Count the steps for a number of comparisons."""
        epochs = self.epochs_for(comparisons)
        return count_steps(comparisons, self.batch_size, epochs).capped(self.max_steps)

    def evaluation_interval(self, comparisons: int, heldout: int = 0) -> int:
        """Return the number of steps between evaluations on that many held-out comparisons."""
        if self.evaluate_every is not None:
            return self.evaluate_every
        steps = self.steps(comparisons).total
        return look_interval(steps, steps // LOOKS, looks_within(steps * self.batch_size, heldout))

    def _check_labelers(self) -> None:
        names = [labeler_weight.labeler for labeler_weight in self.labelers or ()]
        name = repeated(names)
        if name is not None:
            raise Invalid(f"labeler {name} must have one weight, not {names.count(name)}")

    def _check_parts(self) -> None:
        between("reward weight", self.weight, 0.0, 100.0)
        between("number of parts of the reward", len(self.parts), 0, PARTS_MOST)
        if not self.weight and not self.parts:
            raise Invalid(
                "the policy has no reward: the learned reward has weight 0 and there are no parts"
            )
        for title in self.titles:
            if self.titles.count(title) > 1:
                raise Invalid(f"the name {title!r} is given to {self.titles.count(title)} rewards")

    def _check_combination(self) -> None:
        between("safety_threshold", self.safety_threshold, 0.0, 1.0)
        if self.combination is Combination.SUM:
            if self.safety or self.safety_tags:
                raise Invalid("reward safety is set, but the combination is 'sum'")
            return
        others = [part for part in self.parts if part.kind not in RULES]
        if self.safety == LEARNED:
            _check_learned_safety(self.weight, others)
        else:
            self._check_safety_part(others)

    def _check_safety_part(self, others: Sequence[RewardPart]) -> None:
        by_title = dict(zip(self.titles, self.parts, strict=True))
        part = by_title.get(self.safety)
        if part is None or part.kind in RULES:
            models = [title for title, one in by_title.items() if one.kind not in RULES]
            known = ", ".join([LEARNED, *models])
            raise Invalid(
                f"safety first needs the name of the safety reward, not {self.safety!r}; "
                f"the rewards are {known}"
            )
        if part.kind is PartKind.CLASSIFIER and part.score is not ScoreForm.PROBABILITY:
            raise Invalid(
                f"safety first compares a probability: the score of {self.safety!r} must "
                f"be {ScoreForm.PROBABILITY}, not {part.score}"
            )
        if part.kind is PartKind.JUDGE:
            raise Invalid(
                f"safety first compares a probability: {self.safety!r} is a judge, which scores "
                "from 1 to 10; use a classifier or a reward model"
            )
        if part.weight < 0.0 or part.at_least is not None:
            raise Invalid(f"the safety reward {self.safety!r} needs a positive weight and no floor")
        if not self.weight and len(others) < 2:
            raise Invalid("safety first needs a reward for helpfulness besides the safety reward")


def _check_learned_safety(weight: float, others: Sequence[RewardPart]) -> None:
    if not weight:
        raise Invalid("the learned reward has weight 0 and cannot be the safety reward")
    if not others:
        raise Invalid("safety first needs a reward for helpfulness besides the safety reward")
