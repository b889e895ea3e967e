"""What files hold, as values: the one vocabulary that readers give and writers take.

Two user turns in a row mean that the second is asked after the model's own answer to the first.
Nothing here knows bytes, field names or rows of the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import NamedTuple

from app.domain.answers import K_RANGE, THUMB_REASONS, check_k
from app.domain.ranking import Ranking, Strength
from app.errors import Invalid

Row = Mapping[str, object]
CRITERION_LONGEST = 60
ROLES = ("system", "user", "assistant")


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


Messages = tuple[Message, ...]
Meta = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One completion of a prompt, and who or what wrote it, where that is known."""

    text: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt: a conversation that waits for an answer."""

    messages: Messages
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)


@dataclass(frozen=True, slots=True)
class DemonstrationRecord:
    """A prompt with a good answer."""

    messages: Messages
    response: str
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        if not self.response.strip():
            raise Invalid("the response is empty")


@dataclass(frozen=True, slots=True)
class CompletionsRecord:
    """A prompt with completions nobody has judged yet."""

    messages: Messages
    completions: tuple[Candidate, ...]
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        if not self.completions:
            raise Invalid("there are no completions")


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """One judgment of two or more completions; ``ranking`` numbers them as ``candidates`` does.

    ``labeler`` is the file's own name for who judged, None where it names nobody or speaks for
    several. ``margin`` is how far the chosen one is ahead, in the file's own unit. Two completions
    with the same text stay two, each with its source; only where all of them are the same text is
    the judgment refused, because it says nothing about a text.
    """

    messages: Messages
    candidates: tuple[Candidate, ...]
    ranking: Ranking
    labeler: str | None = None
    strength: Strength | None = None
    margin: float | None = None
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        if len(self.candidates) != len(self.ranking.ranks):
            raise Invalid(
                f"{len(self.candidates)} completions have {len(self.ranking.ranks)} ranks"
            )
        texts = {candidate.text for candidate in self.candidates}
        if len(texts) == 1:
            raise Invalid("the completions are all the same text")

    @property
    def preferred(self) -> int | None:
        """The completion in first place, or None where several share it."""
        first = self.ranking.first
        return next(iter(first)) if len(first) == 1 else None


@dataclass(frozen=True, slots=True)
class UnpairedRecord:
    """A completion somebody found good or bad by itself; None as ``labeler`` names nobody."""

    messages: Messages
    text: str
    label: bool
    labeler: str | None = None

    def __post_init__(self) -> None:
        check_prompt(self.messages)


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """One labeler's whole judgment, under a pseudonym; an empty one names nobody.

    ``shown_order`` lists the completions' numbers as they stood on screen. Times have a zone.
    ``ratings`` has for each criterion the rating of each completion; ``thumb`` is up or down.
    """

    labeler: str
    ranking: Ranking | None
    strength: Strength | None = None
    both_bad: bool = False
    flags: tuple[str, ...] = ()
    comment: str = ""
    shown_order: tuple[int, ...] = ()
    guidelines_version: int | None = None
    started_at: datetime | None = None
    submitted_at: datetime | None = None
    active_ms: int | None = None
    ratings: Mapping[str, tuple[int, ...]] | None = None
    thumb: str | None = None
    reasons: tuple[str, ...] = ()
    text: str | None = None

    def __post_init__(self) -> None:
        for moment in (self.started_at, self.submitted_at):
            if moment is not None and moment.tzinfo is None:
                raise Invalid(f"time {moment.isoformat()} has no zone")


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """A comparison with every vote on it.

    ``kind`` is how it was judged, None where the file does not say; ``weights`` are those of the
    criteria that it was rated on.
    """

    messages: Messages
    candidates: tuple[Candidate, ...]
    votes: tuple[VoteRecord, ...]
    comparison: str | None = None
    purpose: str = "train"
    split: str | None = None
    round: int | None = None
    kind: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        count = len(self.candidates)
        if self.kind is not None and self.kind not in K_RANGE:
            raise Invalid(f"a kind is one of {', '.join(K_RANGE)}, not {self.kind!r}")
        for name, weight in self.weights.items():
            if not (isfinite(weight) and weight >= 0):
                raise Invalid(f"the weight of {name!r} must be 0 or more, not {weight}")
        if self.kind is not None:
            check_k(self.kind, count)
        elif not self.candidates:
            raise Invalid("there are no completions")
        names = [vote.labeler for vote in self.votes]
        for vote in self.votes:
            if vote.labeler and names.count(vote.labeler) > 1:
                raise Invalid(f"labeler {vote.labeler} votes twice")
            if vote.ranking is not None and len(vote.ranking.ranks) != count:
                raise Invalid(f"{count} completions have {len(vote.ranking.ranks)} ranks")
            if vote.shown_order and sorted(vote.shown_order) != list(range(count)):
                raise Invalid(
                    f"shown order {vote.shown_order} is not 0 to {count - 1} in any order"
                )
            _check_said(self.kind, vote, count)


def _check_said(kind: str | None, vote: VoteRecord, count: int) -> None:
    """Refuse a vote that does not say what its comparison asked."""
    for name, ratings in (vote.ratings or {}).items():
        if not 1 <= len(name) <= CRITERION_LONGEST:
            raise Invalid(f"a criterion has 1 to {CRITERION_LONGEST} characters: {name[:80]!r}")
        if len(ratings) != count:
            raise Invalid(f"{count} completions have {len(ratings)} ratings on {name!r}")
    if kind == "rate" and not vote.ratings:
        raise Invalid(f"labeler {vote.labeler} rates nothing")
    if kind == "thumbs" and vote.thumb not in THUMB_REASONS:
        raise Invalid(f"the thumb of {vote.labeler} is up or down, not {vote.thumb!r}")
    if kind in {"write", "edit"} and not (vote.text or "").strip():
        raise Invalid(f"labeler {vote.labeler} gives no text")


Record = (
    PromptRecord
    | DemonstrationRecord
    | CompletionsRecord
    | PreferenceRecord
    | UnpairedRecord
    | ComparisonRecord
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not taken, with its number from 1, the reason, and its bytes."""

    line: int
    reason: str
    raw: bytes = b""


def check_prompt(messages: Sequence[Message]) -> None:
    """Refuse a conversation that does not wait for an answer.

    Raises Invalid unless it has turns, the last of the user, none empty, and the system's first.
    """
    if not messages:
        raise Invalid("the prompt is empty")
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise Invalid(f"turn {number} has the role {message.role!r}, not {', '.join(ROLES)}")
        if message.role == "system" and number > 1:
            raise Invalid(f"turn {number} is a system turn; only the first may be")
        if not message.content.strip():
            raise Invalid(f"turn {number} of the prompt is empty")
    if messages[-1].role != "user":
        raise Invalid(f"the prompt ends with a turn of the {messages[-1].role}, not of the user")


def chosen_and_rejected(
    messages: Messages,
    chosen: str,
    rejected: str,
    *,
    sources: tuple[str | None, str | None] = (None, None),
    margin: float | None = None,
    source_id: str | None = None,
    meta: Meta | None = None,
) -> PreferenceRecord:
    """Build a preference of two from a file that knows only which one won."""
    return PreferenceRecord(
        messages,
        (Candidate(chosen, sources[0]), Candidate(rejected, sources[1])),
        Ranking((1, 2)),
        margin=margin,
        source_id=source_id,
        meta=meta or {},
    )


def pair(record: PreferenceRecord) -> tuple[str, str]:
    """Return the chosen and the rejected text of a preference of two.

    Raises Invalid for a tie or for more than two: a chosen/rejected row cannot say either.
    """
    if len(record.candidates) != 2:
        raise Invalid(f"a pair has two completions, not {len(record.candidates)}")
    best = record.preferred
    if best is None:
        raise Invalid("a tie has no chosen side")
    return record.candidates[best].text, record.candidates[1 - best].text


def pairs(record: PreferenceRecord) -> tuple[PreferenceRecord, ...]:
    """Split a ranking into the preferences it implies, chosen first; ties are kept as ties."""
    return tuple(
        PreferenceRecord(
            record.messages,
            (record.candidates[one.preferred], record.candidates[one.other]),
            Ranking((1, 1) if one.tie else (1, 2)),
            record.labeler,
            record.strength,
            record.margin,
            record.source_id,
        )
        for one in record.ranking.preferences()
        if record.candidates[one.preferred].text != record.candidates[one.other].text
    )
