"""Which options each format applies, states and refuses."""

from typing import Any

import pytest

from app.errors import Invalid
from app.formats import writers
from app.formats.manifest import OPTION_TITLES
from app.models import Purpose, Split
from app.services.datasets import export_options, export_rows
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions, Ties

OF_PAIRS: dict[str, Any] = {
    "aggregate": Aggregate.EACH_VOTE,
    "ties": Ties.HALF,
    "min_agreement": 0.6,
}
OTHERS = [name for name in export_rows.TITLES if name not in writers.PREFERENCES]


@pytest.mark.parametrize("format", export_rows.TITLES)
def test_every_format_takes_the_defaults_and_states_only_what_it_applies(format: str) -> None:
    export_options.check(format, ExportOptions())
    stated = export_options.filter_of(format, ExportOptions())
    is_of_pairs = format in writers.PREFERENCES
    assert (stated.keys() & OF_PAIRS.keys() == OF_PAIRS.keys()) == is_of_pairs
    stored = export_options.stored(format, ExportOptions())
    assert stated.keys() | {"container"} == stored.keys()  # the manifest names the file by itself
    assert {"rounds", "purposes", "splits", "include_adjudicated"} <= stated.keys()


@pytest.mark.parametrize("format", OTHERS)
@pytest.mark.parametrize("name", OF_PAIRS)
def test_an_option_that_a_format_cannot_apply_is_refused_by_name(format: str, name: str) -> None:
    options = ExportOptions(**{name: OF_PAIRS[name]})
    with pytest.raises(Invalid) as caught:
        export_options.check(format, options)
    for part in (format, name, OPTION_TITLES[name], str(OF_PAIRS[name])):
        assert part in str(caught.value)


@pytest.mark.parametrize("format", writers.PREFERENCES)
def test_a_share_of_votes_needs_a_format_with_a_margin(format: str) -> None:
    options = ExportOptions(aggregate=Aggregate.VOTE_SHARE)
    if format in writers.WITH_MARGIN:
        export_options.check(format, options)
        return
    with pytest.raises(Invalid, match="has no place for a share of votes"):
        export_options.check(format, options)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"min_agreement": "most"}, "a share from 0 to 1, not 'most'"),
        ({"min_agreement": True}, "a share from 0 to 1, not True"),
        ({"include_adjudicated": "false"}, "true or false, not 'false'"),
        ({"rounds": "1, two"}, "whole numbers, such as 1, not 'two'"),
        ({"rounds": [1.5]}, "whole numbers, such as 1, not 1.5"),
        ({"purposes": "train,fun"}, "not 'fun'"),
        ({"agregate": "each_vote"}, "there are aggregate, ties, min_agreement"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_rule_and_value(
    data: dict[str, Any], why: str
) -> None:
    with pytest.raises(Invalid) as caught:
        ExportOptions.from_json(data)
    assert why in str(caught.value)


def test_lists_can_be_written_with_commas_or_as_one_value() -> None:
    options = ExportOptions.from_json(
        {"rounds": "1, 2", "purposes": "train", "splits": "train,test"}
    )
    assert options == ExportOptions(
        rounds=(1, 2), purposes=(Purpose.TRAIN,), splits=(Split.TRAIN, Split.TEST)
    )
    assert ExportOptions.from_json({"rounds": 3}).rounds == (3,)
