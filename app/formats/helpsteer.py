"""HelpSteer data: ratings of single responses, and preferences with the vote of each annotator.

HelpSteer2 rates a response from 0 to 4 on five criteria; the ratings are kept on that scale. The
preferences of HelpSteer2 and HelpSteer3 range from -3 (the first response is much better) to 3 (the
second is); 0 is a tie, and -100 means that neither is good. The annotators are anonymous.
"""

from collections.abc import Iterable

from app.domain.ranking import Ranking, strength_of
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import ComparisonRecord, CompletionText, Conversation, Row, VoteRecord

CRITERIA = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_SCALE = (0, 4)
_NEITHER = -100
_MOST = 3


def read_ratings(row: Row) -> list[ComparisonRecord]:
    """Read the ratings of one response."""
    ratings = {name: (fields.whole(row, name),) for name in CRITERIA if row.get(name) is not None}
    return [
        ComparisonRecord(
            fields.prompt(row, "prompt"),
            (CompletionText(fields.text(row, "response")),),
            (VoteRecord("", None, ratings=ratings),),
            kind="rate",
            scales=dict.fromkeys(ratings, _SCALE),
        )
    ]


def read_preference(row: Row) -> list[ComparisonRecord]:
    """Read a HelpSteer2 preference: every annotator's vote, or else the overall preference."""
    prompt = fields.prompt(row, "prompt")
    candidates = _candidates(row, "response_1", "response_2")
    if row.get("all_preferences_unprocessed"):
        votes = [
            _vote(vote, "strength", fields.optional_text(vote, "justification"))
            for vote in fields.objects(row, "all_preferences_unprocessed")
        ]
    else:
        votes = [
            _vote(row, "preference_strength", fields.optional_text(row, "preference_statement"))
        ]
    return [_comparison(prompt, candidates, votes, {})]


def read_helpsteer3(row: Row) -> list[ComparisonRecord]:
    """Read a HelpSteer3 preference: every annotator's vote, or else the overall preference."""
    prompt = fields.prompt(row, "context")
    candidates = _candidates(row, "response1", "response2")
    if row.get("individual_preference"):
        votes = [
            _vote(vote, "score", _feedback(vote))
            for vote in fields.objects(row, "individual_preference")
        ]
    else:
        votes = [_vote(row, "overall_preference", None)]
    notes = {key: row[key] for key in ("domain", "language") if isinstance(row.get(key), str)}
    return [_comparison(prompt, candidates, votes, notes)]


def _candidates(row: Row, *keys: str) -> tuple[CompletionText, ...]:
    candidates = tuple(CompletionText(fields.text(row, key)) for key in keys)
    if len({candidate.text for candidate in candidates}) == 1:
        raise Invalid("all completions have the same text")
    return candidates


def _comparison(
    prompt: Conversation,
    candidates: tuple[CompletionText, ...],
    votes: Iterable[VoteRecord],
    notes: Row,
) -> ComparisonRecord:
    return ComparisonRecord(prompt, candidates, tuple(votes), kind="pick", meta=notes)


def _vote(row: Row, key: str, comment: str | None) -> VoteRecord:
    score = fields.whole(row, key)
    if score == _NEITHER:
        return VoteRecord("", None, both_bad=True, comment=comment or "")
    if abs(score) > _MOST:
        raise Invalid(f"{key!r} must be -{_MOST} to {_MOST}, or {_NEITHER}, not {score}")
    return VoteRecord(
        "",
        Ranking.of_positions([score, 0]),
        # "Slightly better", "better" and "much better" are the upper three of our four strengths.
        None if score == 0 else strength_of(abs(score) + 1),
        comment=comment or "",
    )


def _feedback(vote: Row) -> str:
    """Return the annotator's reasoning and the feedback on each response."""
    parts = [fields.optional_text(vote, "reasoning") or ""]
    for key, title in (("feedback1", "Response 1"), ("feedback2", "Response 2")):
        if said := fields.optional_text(vote, key):
            parts.append(f"{title}: {said}")
    return "\n\n".join(part for part in parts if part.strip())


_ALL_VOTES = "derived from the votes of the annotators, all of which are kept"

RATINGS = Format(
    "helpsteer2",
    "HelpSteer2 ratings",
    has("prompt", "response", "helpfulness"),
    read_ratings,
    fields=("prompt", "response", *CRITERIA),
)
PREFERENCES = Format(
    "helpsteer2-preference",
    "HelpSteer2 preferences",
    has(
        "prompt", "response_1", "response_2", ("preference_strength", "all_preferences_unprocessed")
    ),
    read_preference,
    fields=(
        *("prompt", "response_1", "response_2", "all_preferences_unprocessed"),
        *("preference_strength", "preference_statement"),
    ),
    ignores={
        "preference_elaboration": _ALL_VOTES,
        "three_most_similar_preferences": _ALL_VOTES,
    },
)
HELPSTEER3 = Format(
    "helpsteer3",
    "HelpSteer3 preferences",
    has("context", "response1", "response2", ("overall_preference", "individual_preference")),
    read_helpsteer3,
    fields=(
        *("context", "response1", "response2", "individual_preference", "overall_preference"),
        *("domain", "language"),
    ),
)
