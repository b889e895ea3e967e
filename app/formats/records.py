"""The contents of files as values: what readers return and writers accept.

In a prompt, two consecutive user turns mean that the second is asked after the model's own response
to the first. A completion that responds to such a follow-up holds the turns that lead up to it:
see `earlier_turns`. Nothing here knows of bytes, field names or database rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import NamedTuple

from app.domain import earlier_turns
from app.domain.judgment_kinds import THUMB_REASONS, check_k, kind_named
from app.domain.ranking import Ranking, Strength
from app.domain.repeats import repeated
from app.errors import Invalid
from app.formats.member_names import Filed

Row = Mapping[str, object]
CRITERION_LONGEST = 60
ROLES = ("system", "user", "assistant")


class Turn(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


Conversation = tuple[Turn, ...]
Meta = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CompletionText:
    """One completion of a prompt, and who or what wrote it, if known.

    `earlier` are the turns between the prompt and a response to a follow-up: responses by the same
    writer, each with the follow-up that came after it.
    """

    text: str
    source: str | None = None
    earlier: Conversation = ()

    def __post_init__(self) -> None:
        if self.earlier:
            earlier_turns.checked(self.earlier)

    def __repr__(self) -> str:
        # As before there were earlier turns: files are known by it, see `unnamed_votes`.
        earlier = f", earlier={self.earlier!r}" if self.earlier else ""
        return f"CompletionText(text={self.text!r}, source={self.source!r}{earlier})"

    @property
    def turns(self) -> Conversation:
        """All turns after the prompt; the last one is the completion itself."""
        return (*self.earlier, Turn("assistant", self.text))

    @property
    def follow_ups(self) -> tuple[str, ...]:
        """The questions among the earlier turns."""
        if not self.earlier:
            return ()
        return tuple(turn.content for turn in self.earlier if turn.role == "user")


@dataclass(frozen=True, slots=True)
class PromptRecord(Filed):
    """A prompt: a conversation that ends with a user turn."""

    messages: Conversation
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)


@dataclass(frozen=True, slots=True)
class DemonstrationRecord(Filed):
    """A prompt with a good response."""

    messages: Conversation
    response: str
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        if not self.response.strip():
            raise Invalid("the response is empty")


@dataclass(frozen=True, slots=True)
class CompletionsRecord(Filed):
    """A prompt with completions that have not been judged."""

    messages: Conversation
    completions: tuple[CompletionText, ...]
    source_id: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        if not self.completions:
            raise Invalid("there are no completions")
        check_follow_ups(self.completions)


@dataclass(frozen=True, slots=True)
class PreferenceRecord(Filed):
    """One judgment of two or more completions; ``ranking`` and ``candidates`` have the same order.

    ``labeler`` is the name in the file, or None if it names nobody or combines several labelers.
    ``margin`` is the lead of the chosen completion, in the file's own unit. Completions of the same
    text by different sources stay apart, and a vote between them is one between the sources. Of
    unknown or equal sources, all completions with the same text are refused.
    """

    messages: Conversation
    candidates: tuple[CompletionText, ...]
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
        check_follow_ups(self.candidates)
        if has_one_text(self.candidates) and not have_own_sources(self.candidates):
            raise Invalid("all completions have the same text")

    def name_labeler(self, labeler: str) -> None:
        """Note whose vote it is; a copy would be checked all over again."""
        object.__setattr__(self, "labeler", labeler)

    @property
    def preferred(self) -> int | None:
        """The index of the completion in first place, or None if several share it."""
        first = self.ranking.first
        return next(iter(first)) if len(first) == 1 else None


@dataclass(frozen=True, slots=True)
class UnpairedRecord(Filed):
    """A completion that was judged good or bad on its own; ``labeler`` may be unknown."""

    messages: Conversation
    text: str
    label: bool
    labeler: str | None = None
    meta: Meta = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """One labeler's complete judgment, under a pseudonym, which is empty if unknown.

    ``shown_order`` lists the completions' indices in the order on screen. Times have a time zone.
    ``ratings`` maps each criterion to the rating of each completion; ``thumb`` is up or down.
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
    # Not in the repr, by which files that were imported before are known: see `unnamed_votes`.
    margin: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for moment in (self.started_at, self.submitted_at):
            if moment is not None and moment.tzinfo is None:
                raise Invalid(f"time {moment.isoformat()} has no time zone")


@dataclass(frozen=True, slots=True)
class ComparisonRecord(Filed):
    """A comparison with every vote on it.

    ``kind`` is the kind of judgment, or None if the file does not record it; ``weights`` are the
    weights of the criteria on which it was rated. ``scales`` are the lowest and the highest rating
    on a criterion, where the format fixes them. ``settled`` is the ranking by which a lead settled
    the comparison; with ``is_settled_as_bad``, the lead found no completion good. ``chosen`` is why
    a rule chose the comparison for a round, or None if it did not.
    """

    messages: Conversation
    candidates: tuple[CompletionText, ...]
    votes: tuple[VoteRecord, ...]
    comparison: str | None = None
    purpose: str = "train"
    split: str | None = None
    round: int | None = None
    kind: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    meta: Meta = field(default_factory=dict)
    # Not in the repr, by which files that were imported before are known: see `unnamed_votes`.
    scales: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    settled: Ranking | None = field(default=None, repr=False)
    is_settled_as_bad: bool = field(default=False, repr=False)
    chosen: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def is_settled(self) -> bool:
        """Whether a lead has settled it: then the settlement decides, not the votes."""
        return self.settled is not None or self.is_settled_as_bad

    def __post_init__(self) -> None:
        check_prompt(self.messages)
        check_follow_ups(self.candidates)
        count = len(self.candidates)
        if self.settled is not None and len(self.settled.ranks) != count:
            raise Invalid(f"{count} completions are settled by {len(self.settled.ranks)} ranks")
        kind = None if self.kind is None else kind_named(self.kind)
        for name, weight in self.weights.items():
            if not (isfinite(weight) and weight >= 0):
                raise Invalid(f"the weight of {name!r} must be 0 or more, not {weight}")
        if kind is not None:
            check_k(kind, count)
        elif not self.candidates:
            raise Invalid("there are no completions")
        twice = repeated(vote.labeler for vote in self.votes if vote.labeler)
        if twice is not None:
            raise Invalid(f"labeler {twice} votes twice")
        for vote in self.votes:
            if vote.ranking is not None and len(vote.ranking.ranks) != count:
                raise Invalid(f"{count} completions have {len(vote.ranking.ranks)} ranks")
            if vote.shown_order and sorted(vote.shown_order) != list(range(count)):
                raise Invalid(
                    f"shown order {vote.shown_order} is not a permutation of 0 to {count - 1}"
                )
            _check_kind(self.kind, vote, count)
            _check_scales(self.scales, vote)


def _check_kind(kind: str | None, vote: VoteRecord, count: int) -> None:
    """Check that a vote has what the comparison's kind of judgment requires."""
    for name, ratings in (vote.ratings or {}).items():
        if not 1 <= len(name) <= CRITERION_LONGEST:
            raise Invalid(
                f"a criterion must have 1 to {CRITERION_LONGEST} characters: {name[:80]!r}"
            )
        if len(ratings) != count:
            raise Invalid(f"{count} completions have {len(ratings)} ratings on {name!r}")
    if kind == "rate" and not vote.ratings:
        raise Invalid(f"labeler {vote.labeler} has no ratings")
    if kind == "thumbs" and vote.thumb not in THUMB_REASONS:
        raise Invalid(f"the thumb of {vote.labeler} must be up or down, not {vote.thumb!r}")
    if kind in {"write", "edit"} and not (vote.text or "").strip():
        raise Invalid(f"labeler {vote.labeler} has no text")


def _check_scales(scales: Mapping[str, tuple[int, int]], vote: VoteRecord) -> None:
    """Check that ratings are on the scale of their criterion."""
    for name, (low, high) in scales.items():
        for rating in (vote.ratings or {}).get(name, ()):
            if not low <= rating <= high:
                raise Invalid(f"the rating on {name!r} must be {low} to {high}, not {rating}")


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
    """A rejected row: its line number, starting at 1, the reason, and its bytes."""

    line: int
    reason: str
    raw: bytes = b""


def check_prompt(messages: Sequence[Turn]) -> None:
    """Check that a conversation is a prompt.

    Raises Invalid unless it has turns, none of them is empty, only the first is a system turn, and
    the last is a user turn.
    """
    if not messages:
        raise Invalid("the prompt is empty")
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise Invalid(
                f"the role of turn {number} must be {', '.join(ROLES)}, not {message.role!r}"
            )
        if message.role == "system" and number > 1:
            raise Invalid(f"turn {number} is a system turn; only the first turn can be one")
        if not message.content.strip():
            raise Invalid(f"turn {number} of the prompt is empty")
    if messages[-1].role != "user":
        raise Invalid(f"the prompt must end with a user turn, not with role {messages[-1].role!r}")


def has_one_text(candidates: Sequence[CompletionText]) -> bool:
    """Return whether completions do not differ in their text, nor in the turns before it."""
    for each in candidates:
        if each.text != candidates[0].text or each.earlier != candidates[0].earlier:
            return False
    return True


def check_follow_ups(candidates: Sequence[CompletionText]) -> None:
    """Check that completions respond to the same questions.

    Raises Invalid if they do not.
    """
    if not any(candidate.earlier for candidate in candidates):
        return
    if len({candidate.follow_ups for candidate in candidates}) > 1:
        raise Invalid("the completions respond to different follow-ups of the prompt")


def have_own_sources(candidates: Sequence[CompletionText]) -> bool:
    """Return whether each completion is known to be by another source."""
    sources = {candidate.source for candidate in candidates}
    return len(sources) == len(candidates) and None not in sources


def completion(said: str | Conversation, source: str | None = None) -> CompletionText:
    """Return a completion of its text, or of all turns after the prompt."""
    if isinstance(said, str):
        return CompletionText(said, source)
    return CompletionText(said[-1].content, source, said[:-1])
