"""The examples at the end of the demo: drawn at random, with what changed in words."""

import pytest

from app.demo import examples, taste
from app.demo.examples import Example
from app.demo.library import TOPICS
from app.demo.truth import PolicyCompletions

TOPIC = TOPICS[0]
ITEM, RIGHT = next(iter(TOPIC.facts.items()))
PROMPT = TOPIC.questions[0].format(item=ITEM)
GOOD = f"Thank you for asking. The library is open {RIGHT} {ITEM}. I can look that up for you."
BAD = f"The library is open {TOPIC.decoys[0]} {ITEM}. It depends."


def example(before: str, after: str) -> Example:
    utility = taste.DEFAULT.utility
    return Example(PROMPT, before, after, utility(PROMPT, before), utility(PROMPT, after))


def text(shown: Example) -> str:
    return "\n".join(line.plain for line in shown.lines())


def test_what_changed_is_named() -> None:
    changed = example(BAD, GOOD)
    assert changed.changes[0] == "wrong information → right information"
    assert {"now an offer to help", "no longer an evasion"} <= set(changed.changes)
    assert changed.utility_after > changed.utility_before
    assert "wrong information → right information" in text(changed)
    worse = example(GOOD, BAD)
    assert "no longer an offer to help" in worse.changes, "a loss is shown as well as a gain"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (GOOD, GOOD, "Change  none; true utility"),
        ("", GOOD, "no response → right information"),
        ("", GOOD, "Before  (empty)"),
        (GOOD, GOOD.replace("for you", "at once"), "Change  other words; true utility"),
    ],
)
def test_the_same_empty_and_other_words(before: str, after: str, says: str) -> None:
    assert says in text(example(before, after))


def test_only_sentences_of_one_response_are_marked() -> None:
    _, before, after, _ = example(f"{GOOD} It depends.", GOOD).lines()
    assert [before.plain[span.start : span.end] for span in before.spans][1:] == ["It depends. "]
    assert len(after.spans) == 1, "only the label"


def test_the_draw_depends_on_the_seed_alone() -> None:
    rows = [PolicyCompletions(f"q{at}", "a", "b" * at) for at in range(240)]

    def drawn(seed: int, utility: float) -> list[str]:
        found = examples.draw(rows, lambda *_: utility, seed, before="SFT", after="Policy 1")
        assert found.title.startswith("3 of 240 held-out prompts, at random")
        return [one.prompt for one in found.drawn]

    assert drawn(1, 0.0) == drawn(1, 5.0)
    assert drawn(1, 0.0) != drawn(2, 0.0)
    few = examples.draw(rows[:2], lambda *_: 0.0, 1, before="SFT", after="Policy 1")
    assert len(few.drawn) == 2
