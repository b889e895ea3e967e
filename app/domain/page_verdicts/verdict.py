"""The verdict that a page opens with: one finding, its tone, its figures, and the advice.

A module beside this one has the rules of each page. How findings and advice are worded is left to
the caller, and so is where the advice leads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.measures import Measure


class Tone(StrEnum):
    """How serious a finding is."""

    GOOD = "good"
    NEXT = "next"  # nothing is wrong, and a person is to act
    BUSY = "busy"  # nothing is wrong, and work is under way
    EARLY = "early"  # there is not enough yet to tell
    NOTE = "note"
    CHECK = "check"
    BAD = "bad"


GRAVE = frozenset({Tone.CHECK, Tone.BAD})
"""Tones of what a lead should look into before anything else."""


class Insight(StrEnum):
    """What was found; each has one sentence."""

    STEP = "step"  # the project's next step, which has words of its own

    NOTHING_JUDGED = "nothing_judged"
    ONE_LABELER = "one_labeler"
    ONLY_TEXTS = "only_texts"
    FEW_SHARED = "few_shared"
    AGREEMENT_LOW = "agreement_low"
    AGREEMENT_CHANCE = "agreement_chance"
    AGREEMENT_UNCLEAR = "agreement_unclear"
    AGREEMENT_EXPECTED = "agreement_expected"
    AGREEMENT_HIGH = "agreement_high"
    RATINGS_LOW = "ratings_low"
    RATINGS_CHANCE = "ratings_chance"
    RATINGS_UNCLEAR = "ratings_unclear"
    RATINGS_EXPECTED = "ratings_expected"

    TOO_FEW_LABELERS = "too_few_labelers"
    LABELERS_UNUSUAL = "labelers_unusual"
    LABELERS_UNTESTED = "labelers_untested"
    LABELERS_USUAL = "labelers_usual"

    RESPONDING = "responding"
    JUDGING = "judging"
    AT_CHECK = "at_check"
    RESULT = "result"  # what an evaluation recommends
    RESULT_AGAINST_REWARD = "result_against_reward"
    NOT_EVALUATED = "not_evaluated"

    CANCELLED = "cancelled"
    DECIDED = "decided"
    DECIDED_UNSEEN = "decided_unseen"
    DECIDED_AGAINST = "decided_against"

    RETIRED = "retired"
    FAILED_CHECK = "failed_check"  # of a round, that bears on a model
    BASE_REFUSED = "base_refused"
    BASE_CHECKING = "base_checking"
    BASE_UNCHECKED = "base_unchecked"
    BASE_CHECK_FAILED = "base_check_failed"
    BASE_READY = "base_ready"
    SFT_READY = "sft_ready"
    REWARD_UNMEASURED = "reward_unmeasured"
    REWARD_CHANCE = "reward_chance"
    REWARD_BELOW_PEOPLE = "reward_below_people"
    REWARD_ABOVE_CHANCE = "reward_above_chance"
    REWARD_AS_PEOPLE = "reward_as_people"


class Advice(StrEnum):
    """What to do; each has one phrase, and a page where it is done."""

    NONE = ""
    STEP = "step"  # the main button of the project's next step
    INVITE = "invite"
    LABEL = "label"
    TALK = "talk"
    TALK_OR_GOLD = "talk_or_gold"
    WEIGH = "weigh"
    SETTLE = "settle"
    GUIDELINES = "guidelines"
    DECIDE = "decide"
    CHOOSE = "choose"  # what to do at a check of a round
    CHOOSE_BASE = "choose_base"
    CHECK_AGAIN = "check_again"
    MORE_JUDGMENTS = "more_judgments"
    LARGER_EVALUATION = "larger_evaluation"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things, by their name in the singular."""

    number: int
    noun: str


Figure = Measure | Count | float | str
"""A share with its interval, a count, another number, or words."""


@dataclass(frozen=True, slots=True)
class PageVerdict:
    """What a page opens with; `figures` fill the sentence of the finding and of the advice."""

    finding: Insight
    tone: Tone
    advice: Advice = Advice.NONE
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def is_grave(self) -> bool:
        """Whether a lead should look into it before anything else."""
        return self.tone in GRAVE
