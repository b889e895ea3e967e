"""Tables of several models' responses: by column, by row, and never by mistake."""

import pytest

from app import formats
from app.errors import Invalid
from app.formats.preview import preview
from app.formats.records import CompletionsRecord, DemonstrationRecord, PromptRecord, Rejected

BARE = b"prompt,alpha,beta,category\nq1,a,b,math\nq2,a,,\n"
ROWS = b"prompt,model,response\nq1,alpha,a\nq1,beta,b\n"


def sources(data: bytes, name: str | None = None) -> list[list[tuple[str | None, str]]]:
    return [
        [(each.source, each.text) for each in record.completions]
        for record in formats.read([data], name)
        if isinstance(record, CompletionsRecord)
    ]


def test_columns_named_for_a_response_are_recognized_and_an_empty_cell_is_none() -> None:
    table = b"prompt,response_alpha,answer beta,completion-c,difficulty\nq1,a,b,c,3\nq2,a,,c,1\n"
    assert formats.detect(table.splitlines()) == "model-columns"
    assert sources(table) == [
        [("alpha", "a"), ("beta", "b"), ("c", "c")],
        [("alpha", "a"), ("c", "c")],
    ]
    (_, rejected) = formats.read([b"prompt,response_x,response_y\nq,a,b\nq2,a,\n"])
    assert isinstance(rejected, Rejected)
    assert rejected.reason.endswith("in columns of their own, not 1")


def test_bare_names_and_rows_are_models_only_if_the_format_is_chosen() -> None:
    assert all(isinstance(each, PromptRecord) for each in formats.read([BARE]))
    assert sources(BARE, "model-columns") == [[("alpha", "a"), ("beta", "b")]]
    assert all(isinstance(each, DemonstrationRecord) for each in formats.read([ROWS]))
    assert sources(ROWS, "model-rows") == [[("alpha", "a")], [("beta", "b")]]
    with pytest.raises(Invalid, match="the header needs a column `model`"):
        list(formats.read([b"prompt,response\nq,a\n"], "model-rows"))


def test_a_preview_names_the_format_that_the_file_may_need() -> None:
    (bare,), (rows,) = preview([BARE]), preview([ROWS])
    assert any("a column of responses for each model" in each for each in bare.remarks)
    assert any("as demonstrations, that is, as good ones" in each for each in rows.remarks)
    (chosen,) = preview([ROWS], "model-rows")
    assert not any("demonstrations" in each for each in chosen.remarks)


@pytest.mark.parametrize(
    "table",
    [
        b"prompt,response_a,response_b\nq,a,b\n",
        b"prompt,response_x,response_y,winner\nq,a,b,x\n",
    ],
)
def test_two_responses_of_a_comparison_and_a_winner_are_not_lost(table: bytes) -> None:
    (rejected,) = formats.read([table])
    assert isinstance(rejected, Rejected)
    assert "holds" in rejected.reason
