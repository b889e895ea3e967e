"""What a policy is rewarded for besides the learned reward, and the weights of votes.

These are settings of a plan; applying them is left to the worker.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.bounds import between, optional
from app.errors import Invalid

PATTERN_MOST = 500
NAME_MOST = 30
RUBRIC_MOST = 20_000
LEARNED = "learned"
"""The name of the reward model that the round fits, among the parts of the reward."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
_CHECKPOINT = re.compile(r"(?:(?P<project>[a-z0-9][a-z0-9-]*)/)?(?P<name>Reward \d+)")


class PartKind(StrEnum):
    """What computes a part of the reward."""

    CLASSIFIER = "classifier"  # a text classifier: the score of one of its labels
    REWARD_MODEL = "reward_model"  # a reward model that the round does not fit
    ENDPOINT = "endpoint"  # an HTTP server of the operator's
    JUDGE = "judge"  # a language model behind an OpenAI-compatible server, from 1 to 10
    LENGTH = "length"  # 0 within the bounds, minus the relative excess outside them
    FORMAT = "format"  # 1 if a pattern is found, else 0


RULES = frozenset({PartKind.LENGTH, PartKind.FORMAT})
"""Parts that are computed without a model, in units of the normalized reward."""


class ScoreForm(StrEnum):
    """The form in which a classifier's label is a score."""

    LOGIT = "logit"
    PROBABILITY = "probability"


class PairLoss(StrEnum):
    """The loss of a reward model."""

    PAIRS = "pairs"  # Bradley-Terry on each pair
    PLACKETT_LUCE = "plackett_luce"  # Plackett-Luce on the whole ranking


class Weighing(StrEnum):
    """The weight of a comparison in training."""

    EQUAL = "equal"
    VOTES = "votes"  # proportional to its number of judgments


class WeightSource(StrEnum):
    """The origin of a plan's labeler weights, which decides what becomes of absent labelers."""

    PLAN = "plan"  # set for this round: a labeler without votes is an error
    PROJECT = "project"  # those of the project at launch: a labeler without votes is reported


@dataclass(frozen=True, slots=True)
class LabelerWeight:
    """The weight of one labeler's votes, by pseudonym; the default weight is 1."""

    labeler: str
    weight: float

    def __post_init__(self) -> None:
        if not self.labeler.strip():
            raise Invalid("a labeler's weight needs the labeler's pseudonym, such as L3")
        between(f"weight of labeler {self.labeler}", self.weight, 0.0, 100.0)


@dataclass(frozen=True, slots=True)
class CheckpointName:
    """A reward model of this installation, by its name and its project's; empty: this project."""

    project: str
    name: str


@dataclass(frozen=True, slots=True)
class RewardPart:
    """One term of the reward: `weight` times its score.

    `name` is the part's name in curves and reports. The model of a classifier or reward model is a
    folder or a hub name; a reward model may also be one of this installation, such as `Reward 2` or
    `other-project/Reward 2`. A classifier needs a `label` unless it has only one; with
    `reads_prompt` it sees the prompt too. An endpoint is a `url`. A judge is a `model` on the
    server `url`; it goes by the `rubric`, or by the project's guidelines. The scores of models,
    endpoints and judges are normalized to mean 0 and standard deviation 1 on the initial policy's
    responses. Lengths are in tokens. A pattern is a regular expression that is searched for in the
    response.

    With `at_least`, a part is a floor: a response that scores that much or more is neither rewarded
    nor penalized for it, and one below loses `weight` times the shortfall. The floor is in the
    part's own unit, such as a probability; the shortfall is on the normalized scale.
    """

    kind: PartKind
    weight: float = 1.0
    name: str = ""
    model: str = ""
    label: str = ""
    score: ScoreForm = ScoreForm.LOGIT
    reads_prompt: bool = False
    url: str = ""
    rubric: str = ""
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    at_least: float | None = None

    def __post_init__(self) -> None:
        between(f"weight of the {self.words} reward", self.weight, -100.0, 100.0)
        if self.weight == 0.0:
            raise Invalid(f"the {self.words} reward has weight 0; leave it out instead")
        optional(f"floor of the {self.words} reward", self.at_least, -1e6, 1e6)
        if self.at_least is not None and self.weight < 0.0:
            raise Invalid(
                f"the {self.words} reward has a floor and weight {self.weight:g}; "
                "a floor needs a positive weight"
            )
        self._check_name()
        if self.rubric and self.kind is not PartKind.JUDGE:
            raise Invalid(f"the {self.words} reward has a rubric; only a judge goes by one")
        _CHECKS[PartKind(self.kind)](self)

    @property
    def words(self) -> str:
        """The kind in words."""
        return str(self.kind).replace("_", " ")

    @property
    def checkpoint(self) -> CheckpointName | None:
        """The reward model of this installation that `model` names, if it names one."""
        found = _CHECKPOINT.fullmatch(self.model.strip())
        if self.kind is not PartKind.REWARD_MODEL or found is None:
            return None
        return CheckpointName(found["project"] or "", found["name"])

    def title(self, number: int) -> str:
        """Return the name in curves; a part without one is named by its kind and number."""
        return self.name or f"{self.kind}-{number}"

    def _check_name(self) -> None:
        if not self.name:
            return
        if len(self.name) > NAME_MOST or not _NAME.fullmatch(self.name):
            raise Invalid(
                f"the name of a reward must be at most {NAME_MOST} letters, digits, spaces, and "
                f"'-', '_' or '.', not {self.name!r}"
            )
        if self.name == LEARNED:
            raise Invalid(f"the name {LEARNED!r} is that of the reward model the round fits")


def described(part: RewardPart) -> str:
    """Return what a part scores by, such as the label of a classifier."""
    match part.kind:
        case PartKind.CLASSIFIER:
            return f"{part.label or 'score'} of {part.model}"
        case PartKind.LENGTH:
            longest = "" if part.longest is None else part.longest
            return f"length {part.shortest or ''}–{longest}"
        case PartKind.FORMAT:
            return f"pattern {part.pattern}"
        case PartKind.JUDGE:
            return f"judge {part.model}"
        case _:
            return part.model or part.url


def _check_classifier(part: RewardPart) -> None:
    if not part.model.strip():
        raise Invalid("a classifier reward needs a model: a folder or a hub name")


def _check_reward_model(part: RewardPart) -> None:
    if not part.model.strip():
        raise Invalid(
            "a reward model needs a folder, a hub name, or the name of one of this installation, "
            "such as 'Reward 2'"
        )


def _check_endpoint(part: RewardPart) -> None:
    if not part.url.startswith(("http://", "https://")):
        raise Invalid(
            f"the url of an endpoint reward must begin with http:// or https://, not {part.url!r}"
        )


def _check_judge(part: RewardPart) -> None:
    if not part.url.startswith(("http://", "https://")):
        raise Invalid(
            "the url of a judge reward must begin with http:// or https://, as that of an "
            f"OpenAI-compatible server, not {part.url!r}"
        )
    if not part.model.strip():
        raise Invalid(f"a judge reward needs a model: its name on {part.url}")
    between("characters of the judge's rubric", len(part.rubric), 0, RUBRIC_MOST)


def _check_length(part: RewardPart) -> None:
    between("shortest response of the length reward", part.shortest, 0, 1_000_000)
    optional("longest response of the length reward", part.longest, 1, 1_000_000)
    if not part.shortest and part.longest is None:
        raise Invalid("a length reward needs a shortest or a longest response")
    if part.longest is not None and part.longest < part.shortest:
        raise Invalid(
            f"longest response of the length reward is {part.longest}, "
            f"below the shortest, {part.shortest}"
        )


def _check_pattern(part: RewardPart) -> None:
    if not part.pattern:
        raise Invalid("a format reward needs a pattern")
    between("characters of the format reward's pattern", len(part.pattern), 1, PATTERN_MOST)
    try:
        re.compile(part.pattern)
    except re.error as error:
        raise Invalid(f"{part.pattern!r} is not a regular expression: {error}") from error


_CHECKS: Mapping[PartKind, Callable[[RewardPart], None]] = {
    PartKind.CLASSIFIER: _check_classifier,
    PartKind.REWARD_MODEL: _check_reward_model,
    PartKind.ENDPOINT: _check_endpoint,
    PartKind.JUDGE: _check_judge,
    PartKind.LENGTH: _check_length,
    PartKind.FORMAT: _check_pattern,
}
