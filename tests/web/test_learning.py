"""The pages about learning: every page opens, every number has its place, curves lead to it."""

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from app.domain.reward_plan import RewardPlan
from app.web import glossary, training_charts
from app.web.charts import Chart
from app.web.render import _environment

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}


def test_the_glossary_has_an_anchor_for_every_number(sign_in: SignIn) -> None:
    text = sign_in().get("/learning", headers=HTML).text
    entries = glossary.entries().values()
    assert len(entries) > 40
    for entry in entries:
        assert f'id="{entry.anchor}"' in text, entry.name
    assert len({entry.anchor for entry in entries}) == len(entries)


@pytest.mark.parametrize("name", glossary.ALGORITHMS)
def test_every_algorithm_has_its_page(sign_in: SignIn, name: str) -> None:
    answer = sign_in().get(f"/learning/{name}", headers=HTML)
    assert answer.status_code == 200
    assert "In the code" in answer.text


def test_words_are_set_as_in_print_and_code_is_not() -> None:
    for name in (glossary.GLOSSARY, *glossary.ALGORITHMS):
        page = glossary.document(name)
        assert page is not None
        text = "\n".join(section.text for section in page.sections)
        words = re.sub(r"(`+).*?\1", "", text, flags=re.DOTALL)
        assert "’" in words or name == "best-of-n", name
        assert "'" not in words, name
        assert '"' not in words, name
        code = "".join(found[0] for found in re.finditer(r"(`+).*?\1", text, flags=re.DOTALL))
        assert "’" not in code, name


def test_no_other_file_is_shown(sign_in: SignIn) -> None:
    browser = sign_in()
    for name in ("README", "glossary", "..%2F..%2FCHANGELOG", "none"):
        assert browser.get(f"/learning/{name}", headers=HTML).status_code == 404, name


def test_every_drawn_curve_leads_to_the_glossary() -> None:
    drawn = [training_charts._policy, training_charts._reward, training_charts._sft]
    for make in drawn:
        for curve in make(_NoPlan(), {}):  # type: ignore[arg-type]
            assert curve.metric in glossary.entries(), curve.title


def test_fresh_votes_are_drawn_with_their_interval_and_number() -> None:
    ends = {"share": 0.6, "share_low": 0.4, "share_high": 0.8, "pooled": 64.0}
    points = {f"fresh/{name}": ((5.0, value),) for name, value in ends.items()}
    chart = training_charts._fresh_votes(points)
    assert chart.last == 0.6
    assert chart.lines[0].ends == ((0.4, 0.8),)
    assert "last 64 votes" in chart.note
    assert training_charts._fresh_votes({}).is_empty


def test_a_curve_without_an_entry_is_a_plain_title() -> None:
    template = _environment().from_string(
        '{% from "_shared/chart.html" import chart with context %}{{ chart(curve) }}'
    )
    for metric, leads in (("kl/k1", True), ("unheard/of", False)):
        html = template.render(curve=Chart("Title", "note", (), metric=metric))
        assert ("/learning#kl-k1" in html) is leads


class _NoPlan:
    """A round's overview of which only the rewards and the policy's budget are asked."""

    class plan:
        reward = RewardPlan()

        class policy:
            kl_budget = 4.0

    checkpoints = ()


def test_lines_of_a_paragraph_are_joined_and_nothing_else() -> None:
    text = "one\ntwo\n\n- item\n  goes on\n- next\n\n```\na\nb\n```\nafter\n\n| x |\n| - |\n| y |"
    joined = glossary._unwrapped(text)
    assert joined.startswith("one two\n\n- item goes on\n- next\n")
    assert "```\na\nb\n```\nafter" in joined
    assert joined.endswith("| x |\n| - |\n| y |")
