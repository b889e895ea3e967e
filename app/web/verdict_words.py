"""The verdicts of pages in words: a tone, a sentence, and what to do, with an address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.measures import Interval, Measure
from app.domain.page_verdicts.verdict import (
    Advice,
    Count,
    Figure,
    Insight,
    PageVerdict,
    Tone,
)
from app.domain.recommendations import in_percent
from app.web import addresses
from app.web.next_step_parts import NextStepWords

TONES: Final[Mapping[Tone, str]] = {
    Tone.GOOD: "Good",
    Tone.NEXT: "Next step",
    Tone.BUSY: "In progress",
    Tone.EARLY: "Too early",
    Tone.NOTE: "Note",
    Tone.CHECK: "Check",
    Tone.BAD: "Problem",
}

_EXPECTED = "{agreement} against the usual {low}–{high}.{culprit}"
SENTENCES: Final[Mapping[Insight, str]] = {
    Insight.NOTHING_JUDGED: "Nothing has been judged yet{where}.",
    Insight.ONE_LABELER: "Only one labeler has judged anything{where}; agreement takes two.",
    Insight.ONLY_TEXTS: "Labelers write texts{where}, for which agreement is not defined: read "
    "them instead.",
    Insight.FEW_SHARED: "Two or more labelers have judged only {shared}{where}; agreement is "
    "informative from {least} on.",
    Insight.AGREEMENT_LOW: "Labelers agree less than expected{where}: " + _EXPECTED,
    Insight.AGREEMENT_CHANCE: "Labelers are not known to agree more than by chance{where}: "
    + _EXPECTED,
    Insight.AGREEMENT_UNCLEAR: "Labelers may agree less than expected{where}, which more judgments "
    "will tell: " + _EXPECTED,
    Insight.AGREEMENT_EXPECTED: "Labelers agree as expected{where}: " + _EXPECTED,
    Insight.AGREEMENT_HIGH: "Labelers agree more than usual{where}: " + _EXPECTED,
    Insight.RATINGS_LOW: "On {criterion}, labelers agree less than expected{where}: alpha {alpha} "
    "against {expected} or more.{culprit}",
    Insight.RATINGS_CHANCE: "On {criterion}, labelers are not known to agree more than by "
    "chance{where}: alpha {alpha} against {expected} or more.{culprit}",
    Insight.RATINGS_UNCLEAR: "On {criterion}, labelers may agree less than expected{where}, which "
    "more judgments will tell: alpha {alpha} against {expected} or more.{culprit}",
    Insight.RATINGS_EXPECTED: "Labelers agree as expected{where}: on {criterion}, where they agree "
    "least, alpha is {alpha} against {expected} or more.{culprit}",
    Insight.TOO_FEW_LABELERS: "Each comparison needs {overlap} by different people, but the "
    "project has {active}.",
    Insight.LABELERS_UNUSUAL: "{labeler} {remarks}.{more}",
    Insight.LABELERS_UNTESTED: "No labeler has made {least} judgments yet; from then on, their "
    "work is checked.",
    Insight.LABELERS_USUAL: "Nothing is unusual in the work of {tested} with {least} judgments or "
    "more.",
    Insight.RESPONDING: "Both policies are responding to the evaluation prompts.",
    Insight.JUDGING: "{done} of {wanted} made by {who}: the result counts once all of them are.",
    Insight.AT_CHECK: "Round {round} waits at a check: {reason}",
    Insight.RESULT: "{result}.",
    Insight.RESULT_AGAINST_REWARD: "{result}. {arbiter} prefers it {preferred} of the time: "
    "training may have exploited the reward model.",
    Insight.NOT_EVALUATED: "Nobody has compared this policy with the previous one.",
    Insight.CANCELLED: "Round {round} was cancelled. Its judgments and models are kept.",
    Insight.DECIDED: "{did}. {result}.",
    Insight.DECIDED_UNSEEN: "{did} without an evaluation.",
    Insight.DECIDED_AGAINST: "{did} against the recommendation. {result}.",
    Insight.RETIRED: "This model is retired: nothing new uses it.",
    Insight.FAILED_CHECK: "{reason}",
    Insight.BASE_REFUSED: "This base model cannot be used: {reason}.",
    Insight.BASE_CHECKING: "A worker is checking whether this base model can be used.",
    Insight.BASE_UNCHECKED: "It is not known yet whether this base model can be used.",
    Insight.BASE_CHECK_FAILED: "The check of this base model failed, so it is not known whether it "
    "can be used.",
    Insight.BASE_READY: "This base model can be used.",
    Insight.SFT_READY: "Trained on demonstrations. Its worth shows in the policies that are "
    "initialized from it.",
    Insight.REWARD_UNMEASURED: "No held-out vote was measured, so it is not known whether the "
    "reward model has learned anything.",
    Insight.REWARD_CHANCE: "The reward model predicts {accuracy} of held-out votes, which is not "
    "above chance: a policy trained against it would learn noise.{more}",
    Insight.REWARD_BELOW_PEOPLE: "The reward model predicts {accuracy} of held-out votes: above "
    "chance, but fewer than people do, who predict {human} of the same votes.{more}",
    Insight.REWARD_ABOVE_CHANCE: "The reward model predicts {accuracy} of held-out votes, above "
    "chance. It cannot be compared with people, because no held-out comparison has two judgments.",
    Insight.REWARD_AS_PEOPLE: "The reward model predicts {accuracy} of held-out votes, and people "
    "predict {human} of the same votes: it is not known to be worse.",
}
"""The sentence of each finding, to be filled with its figures."""


@dataclass(frozen=True, slots=True)
class AdviceWords:
    """What to do: a phrase, and the route and the rest of the address where it is done.

    `link` words what is at the address where the advice itself cannot be done there.
    """

    phrase: str
    route: str = ""
    rest: str = ""
    link: str = ""


_OF_LABELER = ("labelers.show", "#labeler-{labeler}", "See {labeler}’s figures")

ADVICE: Final[Mapping[Advice, AdviceWords]] = {
    Advice.NONE: AdviceWords(""),
    Advice.INVITE: AdviceWords("Invite labelers", "labelers.show"),
    Advice.LABEL: AdviceWords("Collect more judgments", "label.show"),
    Advice.TALK: AdviceWords("Talk to {labeler}", *_OF_LABELER),
    Advice.TALK_OR_GOLD: AdviceWords("Talk to {labeler}, or add gold comparisons", *_OF_LABELER),
    Advice.WEIGH: AdviceWords("Review the labeler weights", "labeler_weights.show"),
    Advice.SETTLE: AdviceWords("Settle the disputed comparisons", "comparisons.show", "?state=low"),
    Advice.GUIDELINES: AdviceWords("Clarify the guidelines", "guidelines.show"),
    Advice.DECIDE: AdviceWords("Decide round {round}", "rounds.show", "#decision"),
    Advice.CHOOSE: AdviceWords("See the choices in round {round}", "rounds.show"),
    Advice.CHOOSE_BASE: AdviceWords("Choose another base model", "settings.show", "#base_model"),
    Advice.CHECK_AGAIN: AdviceWords("Have it checked again"),
    Advice.MORE_JUDGMENTS: AdviceWords("Plan a round with more judgments", "rounds.new"),
    Advice.LARGER_EVALUATION: AdviceWords("Plan a round with a larger evaluation", "rounds.new"),
}


@dataclass(frozen=True, slots=True)
class VerdictWords:
    """A verdict as a page shows it; `advice` may be empty, and so may its address.

    `link` is the text of the link where it is not the advice.
    """

    finding: Insight
    tone: Tone
    word: str  # the tone, so that color never says it alone
    sentence: str
    advice: str = ""
    url: str = ""
    link: str = ""

    @property
    def is_step(self) -> bool:
        """Whether it is the next step, whose words and buttons a page shows once."""
        return self.finding is Insight.STEP


def words(verdict: PageVerdict, slug: str, step: NextStepWords | None = None) -> VerdictWords:
    """Return a verdict in words; `step` is that of a verdict on the next step."""
    tone = TONES[verdict.tone]
    if verdict.finding is Insight.STEP:
        assert step is not None
        main = next((button for button in step.buttons if button.is_main), None)
        label, url = (main.label, "" if main.is_post else main.url) if main else ("", "")
        return VerdictWords(verdict.finding, verdict.tone, tone, f"{step.heading}.", label, url)
    figures = {name: _figure(name, one, verdict) for name, one in verdict.figures.items()}
    advice = ADVICE[verdict.advice]
    url = ""
    if advice.route:
        given = {"slug": slug, "number": figures.get("round", "")}
        taken = {name: one for name, one in given.items() if addresses.takes(advice.route, name)}
        url = addresses.path(advice.route, query=None, **taken)
        url += advice.rest.format(**figures)
    return VerdictWords(
        verdict.finding,
        verdict.tone,
        tone,
        SENTENCES[verdict.finding].format(**figures),
        advice.phrase.format(**figures),
        url,
        advice.link.format(**figures),
    )


def values(verdict: PageVerdict) -> dict[str, object]:
    """Return the figures of a verdict as JSON values; those in words are left to the sentence."""
    return {name: _value(one) for name, one in verdict.figures.items() if not isinstance(one, str)}


def _figure(name: str, figure: Figure, verdict: PageVerdict) -> str:
    if isinstance(figure, Measure):
        return _share(figure)
    if name == "more":
        return _more(figure)
    if name == "culprit" and figure:
        but = "But " if verdict.finding in _WELL else ""
        return f" {but}{figure}."
    if isinstance(figure, Count):
        return f"{figure.number:,} {figure.noun}{'' if figure.number == 1 else 's'}"
    if name in ("low", "high") and isinstance(figure, float):
        return f"{100 * figure:.0f}" + (" %" if name == "high" else "")
    return figure if isinstance(figure, str) else f"{figure:,g}"


_WELL = frozenset(
    {
        Insight.AGREEMENT_EXPECTED,
        Insight.AGREEMENT_HIGH,
        Insight.RATINGS_EXPECTED,
    }
)


def _more(figure: Figure) -> str:
    """Word what is more: other labelers with remarks, or what more comparisons would bring."""
    if isinstance(figure, Count):
        if not figure.number:
            return ""
        plural = ("", "s") if figure.number == 1 else ("s", "")
        return f" {figure.number:,} {figure.noun}{plural[0]} need{plural[1]} attention."
    if not figure:
        return ""
    return f" 500 more comparisons are expected to change that by {figure} points."


def _share(measure: Measure) -> str:
    if not isinstance(measure.value, int | float):
        return f"not defined ({measure.value.reason})"
    interval = measure.interval
    if not isinstance(interval, Interval):
        return in_percent(measure.value, None, None)
    return in_percent(measure.value, interval.low, interval.high)


def _value(figure: Figure) -> object:
    if isinstance(figure, Count):
        return figure.number
    if not isinstance(figure, Measure):
        return figure
    value = figure.value if isinstance(figure.value, int | float) else None
    interval = figure.interval
    low, high = (interval.low, interval.high) if isinstance(interval, Interval) else (None, None)
    return {"value": value, "low": low, "high": high, "n": figure.n}
