"""The instruction in exports: as the model saw it, apart, or left out, and each row its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.domain.instruction_text import InstructionPlace
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import registry, writers
from app.formats.records import Rejected
from app.services.datasets import export_rows, instructed
from app.services.datasets.export_rows import Account
from app.services.datasets.judged_comparisons import ExportOptions, JudgedComparison
from tests.services.datasets.test_export_rows import A_BETTER, B_BETTER, comparison, vote

TEXTS = {1: "Be brief.", 2: "Be kind."}
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "Why?"}


def judged(*under: int, ranking: Ranking = A_BETTER) -> JudgedComparison:
    votes = [vote(n, ranking, instruction_version=version) for n, version in enumerate(under, 1)]
    return replace(comparison(*votes), instructions=TEXTS)


def written(*under: int) -> JudgedComparison:
    votes = [vote(n, None, text="So.", instruction_version=at) for n, at in enumerate(under, 1)]
    given = replace(comparison(*votes, texts=()), kind=JudgmentKind.WRITE, instructions=TEXTS)
    return replace(given, votes=tuple(one._replace(shown_order=()) for one in given.votes))


def given_for(format: str, *under: int) -> JudgedComparison:
    return written(*under) if format in export_rows.DEMONSTRATIONS else judged(*under)


def lines(
    format: str, given: Sequence[JudgedComparison], place: str = "prompt"
) -> tuple[list[bytes], Account]:
    account = Account()
    options = ExportOptions(instruction=InstructionPlace(place))
    return list(export_rows.write(given, format, options, account)), account


def rows(format: str, *given: JudgedComparison, place: str = "prompt") -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in lines(format, given, place)[0]]


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("trl-explicit", {"prompt": [SYSTEM, ASKED]}),
        ("rich", {"context": [SYSTEM, ASKED]}),
        ("unpaired", {"prompt": [SYSTEM, ASKED]}),
        ("llama-factory-alpaca", {"system": "Be brief.", "instruction": "Why?"}),
        ("trl-explicit-text", {"prompt": "Be brief.\n\nWhy?\n\n"}),
        ("vertex-rlhf", {"input_text": "Be brief.\n\nWhy?"}),
        ("demonstrations-text", {"prompt": "Be brief.\n\nWhy?"}),
        ("hh", {"chosen": "\n\nHuman: Be brief.\n\nWhy?\n\nAssistant: one"}),
    ],
)
def test_a_prompt_has_the_instruction_as_the_format_can_say_it(
    format: str, expected: Mapping[str, Any]
) -> None:
    row = rows(format, given_for(format, 1))[0]
    assert {name: row[name] for name in expected} == expected


def test_a_system_turn_of_the_prompt_follows_the_instruction() -> None:
    given = judged(1)
    own = ({"role": "system", "content": "You are a clerk."}, ASKED)
    (row,) = rows("trl-explicit", replace(given, prompt=replace(given.prompt, messages=own)))
    assert row["prompt"][0]["content"] == "Be brief.\n\nYou are a clerk."


EXPORTS = [name for name in export_rows.TITLES if name != export_rows.TRAINING]


@pytest.mark.parametrize("format", EXPORTS)
def test_no_format_excludes_a_row_for_its_instruction(format: str) -> None:
    with_it, account = lines(format, [given_for(format, 1)])
    without, _ = lines(format, [given_for(format, 1)], "none")
    assert len(with_it) == len(without) > 0
    assert with_it != without
    assert not any(unit.excluded for unit in account.counts.units().values())


@pytest.mark.parametrize("format", EXPORTS)
def test_what_is_exported_with_the_instruction_can_be_read(format: str) -> None:
    read = list(registry.read([b"".join(lines(format, [given_for(format, 1)])[0])]))
    assert read
    assert not any(isinstance(one, Rejected) for one in read)


@pytest.mark.parametrize("format", sorted(instructed.WITH_FIELD))
def test_an_instruction_apart_is_read_back_as_the_one_in_the_prompt(format: str) -> None:
    given = [given_for(format, 1)]
    apart = lines(format, given, "apart")[0]
    assert {json.loads(line)["instruction"] for line in apart} == {"Be brief."}
    within = lines(format, given)[0]
    assert list(registry.read([b"".join(apart)])) == list(registry.read([b"".join(within)]))


@pytest.mark.parametrize("format", ["hh", "openai-preference", "llama-factory-sharegpt"])
def test_a_format_without_such_a_field_is_refused_by_name(format: str) -> None:
    with pytest.raises(Invalid, match=f"format '{format}' has no field for the instruction"):
        instructed.check(format, InstructionPlace.APART)


@pytest.mark.parametrize("place", ["prompt", "apart", "none"])
def test_judgments_from_files_have_no_instruction(place: str) -> None:
    (row,) = rows("trl-explicit", judged(0), place=place)
    assert row["prompt"] == [ASKED]
    assert row.get("instruction", "") == ""


def test_each_row_has_the_version_that_it_was_judged_under() -> None:
    given = judged(2, 1, 1)
    votes = (given.votes[0]._replace(ranking=B_BETTER), *given.votes[1:])
    given = replace(given, votes=votes)
    brief, kind = rows("trl-explicit", given)
    assert [row["prompt"][0]["content"] for row in (brief, kind)] == ["Be brief.", "Be kind."]
    assert [row["chosen"][0]["content"] for row in (brief, kind)] == ["one", "two"]
    _, account = lines("rich", [given])
    assert (account.instruction.texts, account.instruction.divided) == (TEXTS, 1)


def test_versions_with_one_text_share_their_rows() -> None:
    given = replace(judged(1, 2), instructions={1: "Be brief.", 2: "Be brief."})
    written_lines, account = lines("rich", [given])
    assert len(written_lines) == 1
    assert (set(account.instruction.texts), account.instruction.divided) == ({1, 2}, 0)


def test_without_the_instruction_no_comparison_is_divided() -> None:
    (row,) = rows("rich", judged(1, 2), place="none")
    assert (row["context"], len(row["individual_preference"])) == ([ASKED], 2)


def test_training_rows_list_the_versions_and_keep_their_prompt() -> None:
    (row,) = rows("training", judged(1, 2, 0))
    assert row["instructions"] == {"0": "", "1": "Be brief.", "2": "Be kind."}
    assert row["prompt"]["messages"] == [ASKED]


def test_an_option_that_is_no_place_is_refused() -> None:
    with pytest.raises(Invalid, match="instruction must be one of prompt, apart, none, not 'x'"):
        ExportOptions.from_json({"instruction": "x"})


@pytest.mark.parametrize("format", EXPORTS)
def test_a_divided_comparison_is_counted_once(format: str) -> None:
    if format in export_rows.DEMONSTRATIONS:
        given = written(1, 2)
        texts = zip(given.votes, ("So.", "Thus."), strict=True)
        given = replace(given, votes=tuple(one._replace(text=text) for one, text in texts))
    else:
        given = judged(1, 2)
    written_lines, account = lines(format, [given])
    rows_each = 2 if format == "unpaired" else 1
    assert (len(written_lines), account.instruction.divided) == (2 * rows_each, 1)
    assert account.counts.comparisons.exported == 1
    assert account.counts.judgments.exported == 2
    assert not account.counts.comparisons.excluded


def test_a_divided_comparison_without_a_row_has_one_reason() -> None:
    given = judged(1, 2, ranking=Ranking((1, 1)))
    _, account = lines("hh", [given])
    assert account.counts.comparisons.excluded == {"tied": 1}
    assert account.counts.judgments.excluded == {"tied": 2}


@pytest.mark.parametrize("format", [*writers.PREFERENCES, "unpaired"])
def test_a_settlement_makes_rows_under_the_newest_instruction_alone(format: str) -> None:
    given = replace(judged(1, 2), settled=B_BETTER)
    once = replace(judged(2), settled=B_BETTER)
    assert lines(format, [given])[0] == lines(format, [once])[0]
    assert lines(format, [given])[1].counts.settled == 1
    found, account = lines("rich", [given])
    assert (len(found), account.counts.settled) == (2, 1)  # each has its votes
