"""From judged comparisons to the rows of an export: aggregated, filtered, spelled in a format.

Pure functions; comparisons come in, bytes go out, and a tally keeps account: every row that could
have been made is written or left out for a reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.ranking import Ranking, Strength
from app.errors import Invalid
from app.formats import jsonl, records, rich, trl, writers
from app.formats.manifest import Tally
from app.formats.records import ComparisonRecord, Message, PreferenceRecord, VoteRecord
from app.services import judged, training_rows
from app.services.judged import Aggregate, Counts, Judged, Options, Ties, TrainingPair, Voted

RICH = "rich"
UNPAIRED = "unpaired"
TRAINING = "training"
"""What reward models read; it carries token ids and every vote."""

_KNOWN: Mapping[str, str] = {
    "trl-implicit": "TRL, implicit prompt (reward models)",
    "trl-explicit": "TRL, explicit prompt (DPO)",
    "trl-implicit-text": "TRL text, implicit prompt",
    "trl-explicit-text": "TRL text, explicit prompt",
    "vertex-rlhf": "Vertex RLHF",
    "hh": "Anthropic HH",
    "openai-preference": "OpenAI preference",
}
TITLES: Mapping[str, str] = {
    **_KNOWN,
    **{name: name for name in writers.PREFERENCES if name not in _KNOWN},
    UNPAIRED: "Unpaired (prompt, completion, label)",
    RICH: "Rich: every vote under its pseudonym",
    TRAINING: "Training rows with token ids",
}
"""What is offered, in the order it is shown."""

Rows = Callable[[Judged, Options, "Account"], Iterator[Mapping[str, Any]]]


@dataclass(slots=True)
class Account:
    """What an export has seen and written so far."""

    tally: Tally = field(default_factory=Tally)
    counts: Counts = field(default_factory=Counts)
    judgment_ids: set[int] = field(default_factory=set)
    guidelines_versions: set[int] = field(default_factory=set)
    checkpoint_ids: set[int] = field(default_factory=set)

    def took(self, comparison: Judged, votes: Iterable[Voted]) -> None:
        """Note that votes of a comparison are in the export."""
        for vote in votes:
            self.judgment_ids.add(vote.judgment_id)
            self.guidelines_versions.add(vote.guidelines_version)
        for candidate in comparison.candidates:
            if candidate.checkpoint_id is not None:
                self.checkpoint_ids.add(candidate.checkpoint_id)


def check(format: str) -> None:
    """Refuse a format that is not offered.

    Raises:
        Invalid: with the names of those that are.
    """
    if format not in TITLES:
        raise Invalid(f"there is no export format {format!r}; there are {', '.join(TITLES)}")


def write(
    comparisons: Iterable[Judged], format: str, options: Options, account: Account
) -> Iterator[bytes]:
    """Yield the lines of an export."""
    check(format)
    rows = _ROWS.get(format, _preferences(format))
    made = (row for each in comparisons for row in rows(each, options, account))
    yield from account.tally.counted(jsonl.encode(row) for row in made)


def filter_of(options: Options) -> dict[str, str | float | bool]:
    """Return the options as a manifest spells its filter."""
    return {
        "aggregate": str(options.aggregate),
        "ties": str(options.ties),
        "min_agreement": options.min_agreement,
        "rounds": ", ".join(map(str, options.rounds)) or "all",
        "purposes": ", ".join(options.purposes),
        "splits": ", ".join(options.splits),
        "include_adjudicated": options.include_adjudicated,
    }


def _preferences(format: str) -> Rows:
    with_margin = format.startswith("trl-")

    def rows(comparison: Judged, options: Options, account: Account) -> Iterator[Mapping[str, Any]]:
        spell = writers.preference(
            format, margin=with_margin and options.aggregate is Aggregate.VOTE_SHARE
        )
        has_row = False
        for record in _records(comparison, options, account):
            try:
                yield spell(record)
            except Invalid as error:
                account.tally.exclude(str(error))
            else:
                has_row = True
        if has_row:
            account.took(comparison, (v for v in comparison.votes if v.ranking is not None))

    return rows


def _rich_rows(
    comparison: Judged, options: Options, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    account.took(comparison, comparison.votes)
    yield rich.write(
        ComparisonRecord(
            _messages(comparison),
            _candidates(comparison),
            tuple(_vote_record(vote) for vote in comparison.votes),
            comparison=str(comparison.comparison_id),
            purpose=comparison.purpose,
            split=comparison.prompt.split,
            round=comparison.round_number,
        )
    )


def _unpaired_rows(
    comparison: Judged, options: Options, account: Account
) -> Iterator[Mapping[str, Any]]:
    """The best and the worst of a comparison as good and bad; both bad makes all bad."""
    del options
    for vote in comparison.votes:
        labels = _labels(vote, len(comparison.candidates))
        if not labels:
            account.tally.exclude(judged.NOT_PREFERENCE)
            continue
        account.took(comparison, [vote])
        for place, label in labels.items():
            text = comparison.candidates[place].text
            yield trl.write_unpaired(records.UnpairedRecord(_messages(comparison), text, label))


def _training_rows(
    comparison: Judged, options: Options, account: Account
) -> Iterator[Mapping[str, Any]]:
    del options
    row = judged.training_row(comparison)
    if row is None:
        account.tally.exclude(judged.NOT_PREFERENCE)
        return
    account.took(comparison, (vote for vote in comparison.votes if vote.ranking is not None))
    yield training_rows.to_json(row, comparison)


_ROWS: Mapping[str, Rows] = {
    RICH: _rich_rows,
    UNPAIRED: _unpaired_rows,
    TRAINING: _training_rows,
}


def _labels(vote: Voted, k: int) -> dict[int, bool]:
    if vote.both_bad:
        return dict.fromkeys(range(k), False)
    if vote.ranking is None or len(vote.ranking.groups) < 2:
        return {}
    best, worst = vote.ranking.groups[0], vote.ranking.groups[-1]
    return {place: place in best for place in sorted((*best, *worst))}


def _records(comparison: Judged, options: Options, account: Account) -> Iterator[PreferenceRecord]:
    if options.aggregate is Aggregate.EACH_VOTE:
        for vote in comparison.votes:
            yield from _of_vote(comparison, vote, options, account)
        return
    for pair in judged.pairs(comparison.votes, len(comparison.candidates)):
        if pair.agreement < options.min_agreement:
            account.tally.exclude(judged.LOW_AGREEMENT)
            continue
        yield from _of_pair(comparison, pair, options, account)
    if not comparison.rankings:
        account.tally.exclude(judged.NOT_PREFERENCE)


def _of_vote(
    comparison: Judged, vote: Voted, options: Options, account: Account
) -> Iterator[PreferenceRecord]:
    if vote.ranking is None:
        account.tally.exclude(judged.NOT_PREFERENCE)
        return
    agreement = {
        (pair.first, pair.second): pair.agreement
        for pair in judged.pairs(comparison.votes, len(comparison.candidates))
    }
    strength = None if vote.strength is None else Strength(vote.strength)
    for one in vote.ranking.preferences():
        place = (min(one.preferred, one.other), max(one.preferred, one.other))
        if agreement[place] < options.min_agreement:
            account.tally.exclude(judged.LOW_AGREEMENT)
            continue
        sign = 0 if one.tie else 1
        yield from _directed(
            comparison,
            (one.preferred, one.other),
            sign,
            options,
            account,
            labeler=vote.labeler,
            strength=strength,
        )


def _of_pair(
    comparison: Judged, pair: TrainingPair, options: Options, account: Account
) -> Iterator[PreferenceRecord]:
    sign = (pair.share > 0.5) - (pair.share < 0.5)
    if options.aggregate is Aggregate.MAJORITY and comparison.settled is not None:
        ranks = comparison.settled.ranks
        sign = (ranks[pair.second] > ranks[pair.first]) - (ranks[pair.second] < ranks[pair.first])
    places = (pair.first, pair.second) if sign >= 0 else (pair.second, pair.first)
    yield from _directed(
        comparison, places, abs(sign), options, account, margin=round(abs(2 * pair.share - 1), 6)
    )


def _directed(
    comparison: Judged,
    places: tuple[int, int],
    sign: int,
    options: Options,
    account: Account,
    *,
    labeler: str | None = None,
    strength: Strength | None = None,
    margin: float | None = None,
) -> Iterator[PreferenceRecord]:
    """Yield the pair with the better one first; a tie not at all, or once each way."""
    if not sign and options.ties is Ties.DROP:
        account.tally.exclude(judged.TIED)
        return
    better, worse = places
    for first, second in [(better, worse)] if sign else [(better, worse), (worse, better)]:
        candidates = _candidates(comparison)
        try:
            yield PreferenceRecord(
                _messages(comparison),
                (candidates[first], candidates[second]),
                Ranking((1, 2)),
                labeler=labeler,
                strength=strength,
                margin=margin,
                source_id=str(comparison.comparison_id),
            )
        except Invalid as error:
            account.tally.exclude(str(error))


def _vote_record(vote: Voted) -> VoteRecord:
    return VoteRecord(
        labeler=vote.labeler,
        ranking=vote.ranking,
        strength=None if vote.strength is None else Strength(vote.strength),
        both_bad=vote.both_bad,
        flags=vote.flags,
        comment=vote.comment,
        shown_order=vote.shown_order,
        guidelines_version=vote.guidelines_version,
        started_at=vote.started_at,
        submitted_at=vote.submitted_at,
        active_ms=vote.active_ms,
    )


def _messages(comparison: Judged) -> records.Messages:
    return tuple(
        Message(str(turn["role"]), str(turn["content"])) for turn in comparison.prompt.messages
    )


def _candidates(comparison: Judged) -> tuple[records.Candidate, ...]:
    return tuple(records.Candidate(each.text, each.source) for each in comparison.candidates)
