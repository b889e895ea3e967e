"""Words for keys, and the grammar of messages and figures on pages."""

import pytest

from app.domain import signs
from app.formats import writers
from app.models import CheckpointKind, Purpose
from app.services.datasets import export_rows
from app.web import audit_words, page_words
from app.web.render import _environment


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("a name is too long", "A name is too long."),
        ("there is no project 'desk'", "There is no project 'desk'."),
        ("both_bad must be 1", "both_bad must be 1."),
        ("an e-mail looks like a@b, not ''", "An e-mail looks like a@b; nothing was given."),
        ("a thumb is up or down, not None", "A thumb is up or down; nothing was given."),
        ("min_agreement (Minimum agreement) does not apply", "Minimum agreement does not apply."),
        ("labelers' votes don't count", "Labelers’ votes don’t count."),
        ("the server's disk, not 'it'", "The server’s disk, not 'it'."),
        ("Done!", "Done!"),
        ("", ""),
    ],
)
def test_a_message_becomes_a_sentence(message: str, said: str) -> None:
    assert page_words.sentence(message) == said


def test_a_figure_agrees_with_its_noun() -> None:
    assert page_words.count(1, "tie") == "1 tie"
    assert page_words.count(0, "tie") == "0 ties"
    assert page_words.count(1200, "loss", "losses") == "1,200 losses"
    assert page_words.count(None, "tie") == "–"


def test_a_figure_is_not_broken_from_its_unit_or_its_interval() -> None:
    said = "They agree 63 % [59, 67] of the time, against 63–77 %; a − 5 [−0.5, 0.2] % of it."
    kept = page_words.unbroken(said)
    assert kept.replace("\xa0", "~").replace("\u2060", "+") == (
        "They agree 63~% [59,~67] of the time, against 63–+77~%; a − 5 [−0.5,~0.2] % of it."
    )


def test_what_rounds_to_zero_has_no_minus_sign() -> None:
    number = _environment().filters["number"]
    assert (number(-0.004, 2), number(-0.006, 2), number(-0.4)) == ("0.00", "−0.01", "0")
    assert (signs.signed(-0.004, 2), signs.signed(-0.006, 2)) == ("+0.00", "−0.01")


def test_every_key_that_a_page_shows_has_words() -> None:
    assert set(page_words.PURPOSES) == set(Purpose)
    assert set(page_words.MODEL_KINDS) == set(CheckpointKind)
    assert set(writers.PREFERENCES) <= set(export_rows.TITLES)
    assert all(name != title for name, title in export_rows.TITLES.items())
    assert page_words.flag("personal_data") == "Personal data"
    said = page_words.metric("people · ceiling · ceiling_high")
    assert said == "Held-out votes · noise ceiling · upper bound"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("user.create", "Account created"),
        ("round.gate_override", "Check of a round overridden"),
        ("automatic_rounds.pause", "Automatic rounds paused"),
        ("judge.let_alone", "AI judge allowed to judge alone"),
        ("judge.restore", "AI judge restored"),
        ("judge.archive", "AI judge archived"),
        ("something.new_here", "Something new here"),
    ],
)
def test_an_audited_action_is_worded(action: str, said: str) -> None:
    assert audit_words.of(action) == said
