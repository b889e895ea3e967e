import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import registry, rich, training_rows
from app.formats.records import ComparisonRecord, Rejected
from app.formats.training_rows import DatasetPrompt, JudgedCompletion
from app.models import Purpose, Split
from app.services.datasets import export_rows, judged_comparisons
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import (
    Aggregate,
    ExportOptions,
    JudgedComparison,
    Ties,
    Voted,
)

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY_SHARE = ExportOptions(aggregate=Aggregate.VOTE_SHARE)
A_BETTER, B_BETTER, TIE = Ranking((1, 2)), Ranking((2, 1)), Ranking((1, 1))


def vote(number: int, ranking: Ranking | None, **more: Any) -> Voted:
    fields: dict[str, Any] = {
        "judgment_id": number,
        "labeler": f"L{number}",
        "ranking": ranking,
        "strength": None,
        "both_bad": False,
        "ratings": None,
        "text": None,
        "flags": (),
        "comment": "",
        "shown_order": (1, 0),
        "guidelines_version": 2,
        "started_at": MOMENT,
        "submitted_at": MOMENT,
        "active_ms": 900,
    }
    return Voted(**(fields | more))


def comparison(
    *votes: Voted, number: int = 7, texts: tuple[str, ...] = ("one", "two")
) -> JudgedComparison:
    return JudgedComparison(
        comparison_id=number,
        kind=JudgmentKind.PICK,
        purpose=Purpose.TRAIN,
        round_number=1,
        prompt=DatasetPrompt(3, ({"role": "user", "content": "Why?"},), Split.TRAIN, "0" * 64),
        candidates=tuple(
            JudgedCompletion(n, text, (5, 6, n), True, f"model {n}", 40 + n)
            for n, text in enumerate(texts)
        ),
        votes=votes,
    )


def rows(
    format: str, *given: JudgedComparison, options: ExportOptions | None = None
) -> tuple[list[dict[str, Any]], Account]:
    account = Account()
    lines = export_rows.write(given, format, options or ExportOptions(), account)
    return [json.loads(line) for line in lines], account


def winners(*given: JudgedComparison, **options: Any) -> list[str]:
    found, _ = rows("trl-explicit", *given, options=ExportOptions(**options))
    return [row["chosen"][0]["content"] for row in found]


def test_each_way_to_aggregate_gives_its_rows() -> None:
    split = comparison(vote(1, A_BETTER), vote(2, A_BETTER), vote(3, B_BETTER))
    assert winners(split, aggregate=Aggregate.EACH_VOTE) == ["one", "one", "two"]
    assert winners(split, aggregate=Aggregate.MAJORITY) == ["one"]
    shares, _ = rows("trl-implicit", split, options=BY_SHARE)
    assert [row["margin"] for row in shares] == [pytest.approx(1 / 3, abs=1e-6)]


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_a_settled_comparison_follows_the_settlement_whatever_the_aggregate(
    aggregate: Aggregate,
) -> None:
    split = comparison(vote(1, A_BETTER), vote(2, A_BETTER), vote(3, B_BETTER))
    options = ExportOptions(aggregate=aggregate, min_agreement=0.9)
    found, account = rows("trl-explicit", replace(split, settled=B_BETTER), options=options)
    assert [row["chosen"][0]["content"] for row in found] == ["two"]
    assert [row.get("margin") for row in found] == [
        1.0 if aggregate is Aggregate.VOTE_SHARE else None
    ]
    counts = account.counts
    assert (counts.settled, counts.comparisons.exported, counts.judgments.exported) == (1, 1, 0)
    assert counts.judgments.excluded == {judged_comparisons.SETTLED_INSTEAD: 3}
    assert list(account.judgments) == []


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_settled_as_bad_or_tied_prefers_nothing(aggregate: Aggregate) -> None:
    split = comparison(vote(1, A_BETTER), vote(2, A_BETTER))
    options = ExportOptions(aggregate=aggregate)
    bad = replace(split, is_settled_as_bad=True)
    found, account = rows("trl-explicit", bad, options=options)
    assert (found, account.counts.comparisons.excluded) == (
        [],
        {judged_comparisons.SETTLED_NEITHER: 1},
    )
    assert account.counts.judgments.excluded == {judged_comparisons.SETTLED_NEITHER: 2}
    found, account = rows("trl-explicit", replace(split, settled=TIE), options=options)
    assert (found, account.counts.pairs.excluded) == ([], {judged_comparisons.TIED: 1})
    tied = ExportOptions(aggregate=aggregate, ties=Ties.HALF)
    assert len(rows("trl-explicit", replace(split, settled=TIE), options=tied)[0]) == 2


def test_a_settlement_labels_completions_instead_of_the_votes() -> None:
    split = comparison(vote(1, A_BETTER), vote(2, A_BETTER))
    labels, account = rows("unpaired", replace(split, settled=B_BETTER))
    assert [row["label"] for row in labels] == [False, True]
    assert account.counts.judgments.excluded == {judged_comparisons.SETTLED_INSTEAD: 2}
    labels, _ = rows("unpaired", replace(split, is_settled_as_bad=True))
    assert [row["label"] for row in labels] == [False, False]


@pytest.mark.parametrize(("settled", "share"), [(A_BETTER, 1.0), (B_BETTER, 0.0), (TIE, 0.5)])
def test_training_follows_the_settlement_and_says_so(settled: Ranking, share: float) -> None:
    votes = (vote(1, A_BETTER, strength=4), vote(2, A_BETTER), vote(3, None, both_bad=True))
    split = comparison(*votes)
    (line,), account = rows("training", replace(split, settled=settled))
    assert line["pairs"] == [[0, 1, share, 3, 1.0, None]]
    assert (line["settled"], account.counts.settled) == (True, 1)
    assert len(line["votes"]) == 2, "people's agreement is computed on the votes"
    assert training_rows.from_json(line).row.is_settled
    (line,), account = rows("training", split)
    assert (line["settled"], account.counts.settled) == (False, 0)
    found, account = rows("training", replace(split, is_settled_as_bad=True))
    assert (found, account.counts.comparisons.excluded) == (
        [],
        {judged_comparisons.SETTLED_NEITHER: 1},
    )


def test_a_majority_is_one_of_votes() -> None:
    bad = vote(9, None, both_bad=True)
    for votes, reason in (
        ([vote(1, A_BETTER), vote(2, TIE), vote(3, TIE)], judged_comparisons.TIED),
        ([vote(1, A_BETTER), bad, vote(8, None, both_bad=True)], judged_comparisons.MOSTLY_NEITHER),
        ([vote(1, A_BETTER), vote(2, B_BETTER)], judged_comparisons.NO_MAJORITY),
        ([vote(1, A_BETTER), bad], judged_comparisons.NO_MAJORITY),
    ):
        found, account = rows("trl-explicit", comparison(*votes))
        assert (found, account.counts.pairs.excluded) == ([], {reason: 1})
    two_of_three = [vote(1, A_BETTER), vote(2, A_BETTER), bad]
    assert winners(comparison(*two_of_three)) == ["one"]
    assert winners(comparison(*two_of_three), min_agreement=0.67) == []


def test_votes_without_a_preference_narrow_the_margin_and_never_make_one() -> None:
    bad = [vote(number, None, both_bad=True) for number in (8, 9)]
    both = comparison(vote(1, A_BETTER), *bad)
    found, account = rows("trl-explicit", both, options=BY_SHARE)
    assert (found, account.counts.pairs.excluded) == ([], {judged_comparisons.MOSTLY_NEITHER: 1})
    found, account = rows(
        "trl-explicit", comparison(vote(1, A_BETTER), vote(2, A_BETTER), *bad), options=BY_SHARE
    )
    assert [row["margin"] for row in found] == [0.5]
    assert account.counts.judgments.excluded == {judged_comparisons.NOT_PREFERENCE: 2}


def test_ties_are_left_out_or_count_half_each_way() -> None:
    tied = comparison(vote(1, A_BETTER), vote(2, B_BETTER))
    assert winners(tied) == []
    assert winners(tied, ties=Ties.HALF) == ["one", "two"]
    for options, reason in (
        (ExportOptions(), judged_comparisons.NO_MAJORITY),
        (BY_SHARE, judged_comparisons.TIED),
    ):
        _, account = rows("trl-explicit", tied, options=options)
        assert account.counts.pairs.excluded == {reason: 1}
        assert account.counts.comparisons.excluded == {reason: 1}
        assert account.counts.judgments.excluded == {reason: 2}
        assert list(account.judgments) == []
    said = comparison(vote(1, TIE))
    assert winners(said, aggregate=Aggregate.EACH_VOTE, ties=Ties.HALF) == ["one", "two"]


def test_a_minimum_of_agreement_leaves_out_and_says_so() -> None:
    split = comparison(vote(1, A_BETTER), vote(2, A_BETTER), vote(3, B_BETTER))
    for aggregate in Aggregate:
        assert winners(split, aggregate=aggregate, min_agreement=0.66)
        options = ExportOptions(aggregate=aggregate, min_agreement=0.67)
        found, account = rows("hh", split, options=options)
        assert found == []
        assert set(account.counts.pairs.excluded) == {judged_comparisons.LOW_AGREEMENT}
        assert account.counts.judgments.excluded == {judged_comparisons.LOW_AGREEMENT: 3}


def test_a_ranking_of_three_makes_three_pairs() -> None:
    ranked = comparison(vote(1, Ranking((2, 1, 3))), texts=("one", "two", "three"))
    found, _ = rows("openai-preference", ranked)
    assert len(found) == 3
    assert winners(ranked) == ["two", "one", "two"]


def test_both_bad_alone_prefers_nothing_but_labels_both() -> None:
    bad = comparison(vote(1, None, both_bad=True))
    found, account = rows("trl-explicit", bad)
    assert found == []
    assert account.counts.comparisons.excluded == {judged_comparisons.NOT_PREFERENCE: 1}
    labels, _ = rows("unpaired", bad)
    assert [row["label"] for row in labels] == [False, False]
    labels, _ = rows("unpaired", comparison(vote(1, B_BETTER)))
    assert [row["label"] for row in labels] == [False, True]


def test_rows_that_say_the_same_twice_are_left_out_with_the_reason() -> None:
    same = comparison(vote(1, A_BETTER), texts=("one", "one"))
    found, account = rows("trl-explicit", same)
    assert found == []
    assert account.counts.pairs.excluded == {"all completions have the same text": 1}


def of_kind(kind: JudgmentKind, *votes: Voted, number: int = 7) -> JudgedComparison:
    texts = {JudgmentKind.WRITE: (), JudgmentKind.RATE: ("one", "two")}.get(kind, ("one",))
    return replace(comparison(*votes, number=number, texts=texts), kind=kind)


def rated(number: int, a: int, b: int) -> Voted:
    ranking = Ranking.of_positions([-a, -b])
    return vote(number, ranking, ratings={"true": [a, b]})


def test_a_thumb_is_a_label_and_no_preference() -> None:
    thumbs = of_kind(JudgmentKind.THUMBS, vote(1, None, thumb="up"), vote(2, None, thumb="down"))
    labels, account = rows("unpaired", thumbs)
    assert [(row["completion"][0]["content"], row["label"]) for row in labels] == [
        ("one", True),
        ("one", False),
    ]
    assert list(account.judgments) == [1, 2]
    _, account = rows("trl-explicit", thumbs)
    assert account.counts.comparisons.excluded == {judged_comparisons.NOT_PREFERENCE: 1}
    assert account.counts.judgments.excluded == {judged_comparisons.NOT_PREFERENCE: 2}


def test_ratings_are_preferences_by_their_mean_and_an_equal_mean_is_a_tie() -> None:
    assert winners(of_kind(JudgmentKind.RATE, rated(1, 2, 5))) == ["two"]
    _, account = rows("trl-explicit", of_kind(JudgmentKind.RATE, rated(1, 4, 4)))
    assert account.counts.pairs.excluded == {judged_comparisons.TIED: 1}


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_an_edit_is_preferred_to_what_it_was_made_of(aggregate: Aggregate) -> None:
    edited = of_kind(JudgmentKind.EDIT, vote(1, None, text="One."), vote(2, None, text="1"))
    found, account = rows("trl-explicit", edited, options=ExportOptions(aggregate=aggregate))
    assert [row["chosen"][0]["content"] for row in found] == ["One.", "1"]
    assert {row["rejected"][0]["content"] for row in found} == {"one"}
    assert list(account.judgments) == [1, 2]
    _, account = rows("unpaired", edited)
    assert account.counts.judgments.excluded == {judged_comparisons.NOT_LABELLED: 2}


def test_what_people_wrote_is_a_demonstration_once() -> None:
    wrote = of_kind(JudgmentKind.WRITE, vote(1, None, text="Because."), vote(2, None, text="So."))
    edited = of_kind(JudgmentKind.EDIT, vote(3, None, text="So."), number=8)
    prompt = wrote.prompt
    for format, key in zip(export_rows.DEMONSTRATIONS, ("messages", "completion"), strict=True):
        account = Account()
        given = [wrote, edited, comparison(vote(4, A_BETTER), number=9)]
        shown = [(prompt, "Why not?")]
        lines = export_rows.write(given, format, ExportOptions(), account, shown=shown)
        found = [json.loads(line)[key] for line in lines]
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in found]
        assert texts == ["Why not?", "Because.", "So."]
        assert account.counts.judgments.excluded == account.counts.comparisons.excluded
        assert account.counts.judgments.excluded == {
            judged_comparisons.SAME_TEXT: 1,
            judged_comparisons.NO_TEXT: 1,
        }
        assert account.counts.demonstrations.exported == 1
        assert list(account.judgments) == [1, 2]


def test_training_rows_carry_what_was_said_of_each_completion_by_itself() -> None:
    weighed = replace(of_kind(JudgmentKind.RATE, rated(1, 2, 5), rated(2, 4, 4)))
    (line,), account = rows("training", replace(weighed, weights={"true": 2.0}))
    assert line["absolutes"] == [[{"true": 3.0}, None], [{"true": 4.5}, None]]
    assert (line["weights"], list(account.judgments)) == ({"true": 2.0}, [1, 2])
    assert line["pairs"] == [[0, 1, 0.25, 2, 0.5, None]]
    thumbs = of_kind(JudgmentKind.THUMBS, vote(1, None, thumb="up"), vote(2, None, thumb="down"))
    (line,), _ = rows("training", thumbs)
    assert (line["absolutes"], line["pairs"], line["judgments"]) == ([[{}, 0.5]], [], [1, 2])
    for given in (weighed, thumbs):
        (line,), _ = rows("training", given)
        row = judged_comparisons.training_row(given)
        assert row is not None
        assert training_rows.from_json(line).row.absolutes == row.absolutes


def test_an_edit_trains_as_a_completion_that_is_better() -> None:
    edited = of_kind(
        JudgmentKind.EDIT, *(vote(n, None, text=t) for n, t in enumerate(["1", "One.", "1"], 1))
    )
    (line,), account = rows("training", edited)
    assert [one["text"] for one in line["completions"]] == ["one", "1", "One."]
    assert [one["token_ids"] for one in line["completions"][1:]] == [None, None]
    assert line["pairs"] == [[1, 0, 1.0, 2, 1.0, None], [2, 0, 1.0, 1, 1.0, None]]
    assert list(account.judgments) == [1, 2, 3]


@pytest.mark.parametrize(
    "given",
    [
        of_kind(JudgmentKind.RATE, rated(1, 2, 5)),
        of_kind(JudgmentKind.THUMBS, vote(1, None, thumb="down", reasons=("wrong",))),
        of_kind(JudgmentKind.EDIT, vote(1, None, text="One.", shown_order=(0,))),
        of_kind(JudgmentKind.WRITE, vote(1, None, text="Because.", shown_order=())),
    ],
    ids=lambda given: str(given.kind),
)
def test_the_rich_format_keeps_every_kind_of_answer(given: JudgedComparison) -> None:
    given = replace(
        given,
        votes=tuple(
            one._replace(shown_order=tuple(range(len(given.candidates)))) for one in given.votes
        ),
    )
    (line,), _ = rows("rich", given)
    (read,) = registry.read([json.dumps(line).encode()])
    assert isinstance(read, ComparisonRecord)
    assert json.loads(json.dumps(rich.write(read))) == line
    assert read.kind == given.kind
    (vote,), (said,) = read.votes, given.votes
    assert (vote.thumb, vote.reasons, vote.text) == (said.thumb, said.reasons, said.text)
    assert {name: list(of) for name, of in (vote.ratings or {}).items()} == (said.ratings or {})


SOMETHING = {
    name: of_kind(JudgmentKind.WRITE, vote(1, None, text="Because."))
    for name in export_rows.DEMONSTRATIONS
}


@pytest.mark.parametrize("format", list(export_rows.TITLES))
def test_the_same_rows_give_the_same_bytes(format: str) -> None:
    given = [comparison(vote(1, A_BETTER), vote(2, None), number=n) for n in (1, 2)]
    given = [SOMETHING[format]] if format in SOMETHING else given
    written = [
        b"".join(export_rows.write(given, format, ExportOptions(), Account())) for _ in range(2)
    ]
    assert written[0] == written[1] != b""


@pytest.mark.parametrize(
    "format", [name for name in export_rows.TITLES if name != export_rows.TRAINING]
)
def test_what_goes_out_can_come_in(format: str) -> None:
    account = Account()
    given = SOMETHING.get(format, comparison(vote(1, A_BETTER)))
    data = b"".join(export_rows.write([given], format, ExportOptions(), account))
    read = list(registry.read([data]))
    assert read
    assert not any(isinstance(one, Rejected) for one in read)


def test_the_account_names_votes_guidelines_and_models() -> None:
    _, account = rows("rich", comparison(vote(1, A_BETTER), vote(2, None, both_bad=True)))
    assert list(account.judgments) == [1, 2]
    assert account.guidelines_versions == {2}
    assert account.checkpoint_ids == {40, 41}


@pytest.mark.parametrize("settled", [B_BETTER, None])
def test_the_rich_format_keeps_the_votes_and_the_settlement(settled: Ranking | None) -> None:
    given = replace(
        comparison(vote(1, A_BETTER)), settled=settled, is_settled_as_bad=settled is None
    )
    (line,), account = rows("rich", given)
    assert line["settled"] == ([] if settled is None else [2, 1])
    (read,) = registry.read([json.dumps(line).encode()])
    assert isinstance(read, ComparisonRecord)
    assert (read.settled, read.is_settled_as_bad) == (settled, settled is None)
    assert (account.counts.settled, account.counts.judgments.exported) == (1, 1)


def test_training_rows_are_read_as_they_were_written() -> None:
    given = comparison(vote(1, A_BETTER, strength=4), vote(2, B_BETTER, strength=1), vote(3, TIE))
    (line,), _ = rows("training", given)
    frozen = training_rows.from_json(line)
    row = judged_comparisons.training_row(given)
    assert row is not None
    assert frozen.row == replace(row, prompt=frozen.row.prompt)
    assert frozen.row.prompt.messages == row.prompt.messages
    assert [one.ranking for one in frozen.votes] == [A_BETTER, B_BETTER, TIE]


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="no export format 'xml'; there are trl-implicit"):
        export_rows.check("xml")
