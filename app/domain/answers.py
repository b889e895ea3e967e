"""What a labeler may answer, checked in one place against what the project asks.

A body is what arrived, one class per kind of judgment; `check` turns it into the domain's answer or
refuses it. Everything speaks of canonical positions: who saw which completion where stays outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.ranking import FEWEST, MOST, Answer, Pick, Ranking, Side, strength_of
from app.errors import Invalid

K_RANGE = {
    "pick": (2, 2),
    "rank": (FEWEST, MOST),
    "rate": (1, MOST),
    "thumbs": (1, 1),
    "write": (0, 0),
    "edit": (1, 1),
}
"""The fewest and most completions that each kind of judgment is asked of."""
FLAGS = {
    "unsafe": "Unsafe",
    "nonsense": "Nonsense",
    "personal_data": "Personal data",
    "broken": "Broken",
}
SKIP_REASONS = {
    "unclear": "I do not understand the question",
    "not_my_field": "I cannot judge this subject",
    "broken": "Something is broken",
    "upsetting": "I would rather not read this",
    "other": "Another reason",
}
THUMB_REASONS = {
    "up": {
        "helpful": "Does what was asked",
        "correct": "Correct",
        "clear": "Clear and to the point",
        "well_written": "Well written",
        "safe": "Careful where it matters",
    },
    "down": {
        "not_helpful": "Does not do what was asked",
        "wrong": "Wrong",
        "unclear": "Hard to follow",
        "badly_written": "Badly written",
        "unsafe": "Unsafe",
    },
}
STRENGTH_NAMES = {1: "Negligibly", 2: "Slightly", 3: "Clearly", 4: "Strongly"}
_ASKED = {
    "pick": "a pick",
    "rank": "a ranking",
    "rate": "ratings",
    "thumbs": "a thumb",
    "write": "a text",
    "edit": "an edit",
}
_STRENGTHS = {0: (), 1: (), 2: (2, 3), 3: (2, 3, 4), 4: (1, 2, 3, 4)}

COMMENT_MOST = 10_000
TEXT_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """What a comparison asks for: `criteria` of a rate, `original` of an edit."""

    kind: str
    k: int
    strength_steps: int = 4
    allow_tie: bool = True
    allow_both_bad: bool = True
    rating_max: int = 5
    criteria: Mapping[str, str] = field(default_factory=dict)  # name to help, in order
    original: str | None = None

    @property
    def strengths(self) -> tuple[int, ...]:
        """The strengths on offer, weakest first; none when the project asks for no strength."""
        return _STRENGTHS[self.strength_steps]


@dataclass(frozen=True, slots=True)
class PickBody:
    """The better of two: `a`, `b` or `tie`, maybe with a strength; or both bad, or both."""

    preferred: str | None = None
    strength: int | None = None
    both_bad: bool = False

    kind = "pick"


@dataclass(frozen=True, slots=True)
class RankBody:
    """The rank of each canonical position, ties equal; or `both_bad`: it cannot be ranked."""

    ranking: tuple[int, ...] | None = None
    both_bad: bool = False

    kind = "rank"


@dataclass(frozen=True, slots=True)
class RateBody:
    """For each criterion the rating of each canonical position."""

    ratings: Mapping[str, tuple[int, ...]]

    kind = "rate"


@dataclass(frozen=True, slots=True)
class ThumbsBody:
    """`up` or `down`, maybe with reasons."""

    thumb: str
    reasons: tuple[str, ...] = ()

    kind = "thumbs"


@dataclass(frozen=True, slots=True)
class WriteBody:
    """The labeler's own answer to the prompt."""

    text: str

    kind = "write"


@dataclass(frozen=True, slots=True)
class EditBody:
    """A better version of the completion."""

    text: str

    kind = "edit"


Body = PickBody | RankBody | RateBody | ThumbsBody | WriteBody | EditBody


def check_k(kind: str, k: int) -> None:
    """Refuse a number of completions that a kind of judgment cannot be asked of."""
    low, high = K_RANGE[kind]
    if not low <= k <= high:
        wanted = str(high) if low == high else f"{low} to {high}"
        raise Invalid(f"kind {kind} takes {wanted} completions, not {k}")


def check(rules: Rules, body: Body) -> Answer:
    """Return the answer that the body gives.

    Raises:
        Invalid: another kind was asked for, the body breaks a rule, or it is not complete.
    """
    if body.kind != rules.kind:
        raise Invalid(f"this comparison asks for {_ASKED[rules.kind]}, not {_ASKED[body.kind]}")
    match body:
        case PickBody() | RankBody():
            return _order(rules, body)
        case RateBody():
            return _rate(rules, body)
        case ThumbsBody():
            return _thumbs(body)
        case WriteBody() | EditBody():
            return _text(rules, body)


def check_remarks(flags: Sequence[str], comment: str) -> None:
    """Refuse unknown flags and a comment that is too long."""
    for flag in flags:
        if flag not in FLAGS:
            raise Invalid(f"a flag is one of {', '.join(FLAGS)}, not {flag!r}")
    if len(comment) > COMMENT_MOST:
        raise Invalid(f"a comment has at most {COMMENT_MOST} characters, not {len(comment)}")
    if "\0" in comment:
        raise Invalid("the comment has a NUL character, which cannot be stored")


def check_skip(reason: str) -> None:
    """Refuse an unknown reason."""
    if reason not in SKIP_REASONS:
        raise Invalid(f"a skip's reason is one of {', '.join(SKIP_REASONS)}, not {reason!r}")


def _order(rules: Rules, body: PickBody | RankBody) -> Answer:
    if body.both_bad and not rules.allow_both_bad:
        raise Invalid("this project does not offer both bad")
    answer = _pick(rules, body) if isinstance(body, PickBody) else _rank(rules, body)
    if not answer.is_complete:
        raise Invalid("the answer is not complete: it prefers nothing and is not both bad")
    return answer


def _pick(rules: Rules, body: PickBody) -> Answer:
    if body.preferred is None:
        if body.strength is not None:
            raise Invalid(f"strength {body.strength} was given, but nothing is preferred")
        return Answer(None, body.both_bad)
    if body.preferred not in tuple(Side):
        raise Invalid(f"preferred must be a, b or tie, not {body.preferred!r}")
    side = Side(body.preferred)
    if side is Side.TIE and not rules.allow_tie:
        raise Invalid("this project does not offer a tie")
    if body.strength is None:
        return Answer(Pick(side), body.both_bad)
    if body.strength not in rules.strengths:
        offered = ", ".join(map(str, rules.strengths)) or "none"
        raise Invalid(f"strengths offered here: {offered}; not {body.strength}")
    return Answer(Pick(side, strength_of(body.strength)), body.both_bad)


def _rank(rules: Rules, body: RankBody) -> Answer:
    if body.both_bad:
        if body.ranking is not None:
            raise Invalid("a comparison that cannot be ranked has no ranking")
        return Answer(None, both_bad=True)
    if body.ranking is None:
        return Answer()
    if len(body.ranking) != rules.k:
        raise Invalid(f"the ranking has {len(body.ranking)} places for {rules.k} completions")
    ranking = Ranking(body.ranking)
    if not rules.allow_tie and len(set(ranking.ranks)) < rules.k:
        raise Invalid(f"this project does not offer ties, but {list(ranking.ranks)} has one")
    return Answer(ranking)


def _rate(rules: Rules, body: RateBody) -> Answer:
    for name in body.ratings:
        if name not in rules.criteria:
            asked = ", ".join(rules.criteria) or "none"
            raise Invalid(f"criteria rated here: {asked}; not {name!r}")
    for name in rules.criteria:
        given = body.ratings.get(name)
        if given is None:
            raise Invalid(f"the answer is not complete: nothing is rated on {name!r}")
        if len(given) != rules.k:
            raise Invalid(f"{name!r} has {len(given)} ratings for {rules.k} completions")
        for rating in given:
            if isinstance(rating, bool) or not 1 <= rating <= rules.rating_max:
                raise Invalid(f"a rating is 1 to {rules.rating_max}, not {rating}, on {name!r}")
    if not rules.criteria:
        raise Invalid("this project has no criteria to rate on")
    return Answer(ratings={name: tuple(body.ratings[name]) for name in rules.criteria})


def _thumbs(body: ThumbsBody) -> Answer:
    if body.thumb not in THUMB_REASONS:
        raise Invalid(f"a thumb is up or down, not {body.thumb!r}")
    offered = THUMB_REASONS[body.thumb]
    for reason in body.reasons:
        if reason not in offered:
            raise Invalid(
                f"a reason for {body.thumb} is one of {', '.join(offered)}; not {reason!r}"
            )
    return Answer(
        thumb=body.thumb, reasons=tuple(reason for reason in offered if reason in body.reasons)
    )


def _text(rules: Rules, body: WriteBody | EditBody) -> Answer:
    if not body.text.strip():
        raise Invalid("the text is empty; write something, or skip")
    size = len(body.text.encode("utf-8", "surrogatepass"))
    if size > TEXT_MOST_BYTES:
        raise Invalid(f"a text has at most {TEXT_MOST_BYTES} bytes, not {size}")
    if "\0" in body.text:
        raise Invalid("the text has a NUL character, which cannot be stored")
    if isinstance(body, EditBody) and body.text == rules.original:
        raise Invalid("the text is the completion's own; change it, or skip")
    return Answer(text=body.text)
