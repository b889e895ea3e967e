"""The rich format: one row per comparison with every vote on it, under pseudonyms.

`context`, `completions` and `individual_preference` follow HelpSteer3-Preference, extended by k
completions, rankings with ties, ratings, thumbs, texts, the order shown, times and guideline
versions, and by `settled`, the ranking by which a lead settled the comparison (empty: no completion
is good), and by `chosen`, the rule, worth and place by which a round chose it. Nothing is lost, so
it is the format for archiving. The ranking of a vote with ratings is the one implied by its ratings
and the criterion weights in the row. `chosen` is not read back: it is about a round, and what is
imported belongs to none.
"""

from datetime import UTC, datetime

from app.domain.ranking import Ranking, strength_of
from app.errors import Invalid
from app.formats import fields
from app.formats.completions import as_row, read_completion
from app.formats.format import Format, has
from app.formats.records import ComparisonRecord, Row, VoteRecord


def read(row: Row) -> list[ComparisonRecord]:
    """Read one comparison."""
    candidates = tuple(
        read_completion(value, f"completion {n}")
        for n, value in enumerate(fields.items(row, "completions"), 1)
    )
    votes = tuple(_vote(vote) for vote in fields.objects(row, "individual_preference"))
    return [
        ComparisonRecord(
            fields.instructed(row, fields.prompt(row, "context")),
            candidates,
            votes,
            comparison=fields.identifier(row, "comparison"),
            purpose=fields.optional_text(row, "purpose") or "train",
            split=fields.optional_text(row, "split"),
            round=fields.optional_whole(row, "round"),
            kind=fields.optional_text(row, "kind"),
            weights=_weights(row),
            settled=Ranking(_numbers(row, "settled")) if row.get("settled") else None,
            is_settled_as_bad=row.get("settled") == [],
        )
    ]


def write(record: ComparisonRecord) -> Row:
    """Write one comparison."""
    return {
        "comparison": record.comparison,
        "purpose": record.purpose,
        "split": record.split,
        "round": record.round,
        **({} if record.kind is None else {"kind": record.kind}),
        **({"weights": dict(record.weights)} if record.weights else {}),
        **_settlement(record),
        **({} if record.chosen is None else {"chosen": dict(record.chosen)}),
        "context": fields.as_messages(record.messages),
        "completions": [as_row(candidate) for candidate in record.candidates],
        "individual_preference": [_vote_row(vote) for vote in record.votes],
    }


def _settlement(record: ComparisonRecord) -> Row:
    if record.settled is not None:
        return {"settled": list(record.settled.ranks)}
    return {"settled": []} if record.is_settled_as_bad else {}


def _vote(row: Row) -> VoteRecord:
    strength = fields.optional_whole(row, "strength")
    return VoteRecord(
        labeler=fields.text(row, "labeler"),
        ranking=None if row.get("ranking") is None else Ranking(_numbers(row, "ranking")),
        strength=None if strength is None else strength_of(strength),
        both_bad=fields.truth(row, "both_bad") if "both_bad" in row else False,
        flags=tuple(_texts(row, "flags")),
        comment=fields.optional_text(row, "comment") or "",
        shown_order=() if row.get("shown_order") is None else _numbers(row, "shown_order"),
        guidelines_version=fields.optional_whole(row, "guidelines_version"),
        started_at=_time(row, "started_at"),
        submitted_at=_time(row, "submitted_at"),
        active_ms=fields.optional_whole(row, "active_ms"),
        ratings=_ratings(row),
        thumb=fields.optional_text(row, "thumb"),
        reasons=tuple(_texts(row, "reasons")),
        text=fields.optional_text(row, "text"),
        margin=fields.optional_number(row, "margin"),
    )


def _vote_row(vote: VoteRecord) -> Row:
    return {
        "labeler": vote.labeler,
        "ranking": None if vote.ranking is None else list(vote.ranking.ranks),
        "strength": None if vote.strength is None else int(vote.strength),
        "both_bad": vote.both_bad,
        "flags": list(vote.flags),
        "comment": vote.comment,
        "shown_order": list(vote.shown_order),
        "guidelines_version": vote.guidelines_version,
        "started_at": _time_text(vote.started_at),
        "submitted_at": _time_text(vote.submitted_at),
        "active_ms": vote.active_ms,
        **_fields_of_kind(vote),
    }


def _fields_of_kind(vote: VoteRecord) -> Row:
    """Return the fields that only some kinds of judgment have."""
    fields_of_kind: dict[str, object] = {}
    if vote.ratings is not None:
        ratings = {name: list(vote.ratings[name]) for name in sorted(vote.ratings)}
        fields_of_kind["ratings"] = ratings
    if vote.thumb is not None:
        fields_of_kind |= {"thumb": vote.thumb, "reasons": list(vote.reasons)}
    if vote.text is not None:
        fields_of_kind["text"] = vote.text
    if vote.margin is not None:
        fields_of_kind["margin"] = vote.margin
    return fields_of_kind


def _ratings(row: Row) -> dict[str, tuple[int, ...]] | None:
    if row.get("ratings") is None:
        return None
    ratings = _by_criterion(row, "ratings", "ratings")
    return {name: _numbers(ratings, name) for name in ratings}


def _weights(row: Row) -> dict[str, float]:
    if row.get("weights") is None:
        return {}
    weights = _by_criterion(row, "weights", "weight")
    return {name: fields.number(weights, name) for name in weights}


def _by_criterion(row: Row, key: str, value: str) -> Row:
    """Read an object by criterion, or the list that stands for it in Parquet."""
    if not isinstance(row[key], list):
        return fields.inner(row, key)
    return {fields.text(entry, "criterion"): entry.get(value) for entry in fields.objects(row, key)}


def _numbers(row: Row, key: str) -> tuple[int, ...]:
    values = fields.items(row, key)
    numbers = tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool))
    if len(numbers) < len(values):
        raise Invalid(f"{key!r} must contain only whole numbers")
    return numbers


def _texts(row: Row, key: str) -> list[str]:
    values = fields.items(row, key) if row.get(key) is not None else []
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise Invalid(f"{key!r} must contain only texts")
    return texts


def _time(row: Row, key: str) -> datetime | None:
    text = fields.optional_text(row, key)
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{key!r} must be an ISO 8601 time, not {text!r}") from error


def _time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


FORMAT = Format(
    "rich",
    "every vote of each comparison",
    has("context", "completions", "individual_preference"),
    read,
    fields=(
        *("comparison", "purpose", "split", "round", "kind", "weights", "settled"),
        *("context", "instruction", "completions", "individual_preference"),
    ),
    ignores={"chosen": "why a round asked about it; what is imported belongs to no round"},
)
