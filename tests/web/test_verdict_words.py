"""Verdicts in words: every finding has a whole sentence, and every advice an address."""

import re
from typing import Any

import pytest

from app.domain.page_verdicts import agreement, evaluation, labelers, model
from app.domain.page_verdicts.verdict import Advice, Insight, PageVerdict, Tone
from app.web import verdict_words
from app.web.next_step_parts import Button, NextStepWords
from tests.domain.page_verdicts import cases
from tests.domain.page_verdicts.cases import VERDICTS

STEP = NextStepWords(
    "3 more judgments, then train", "0 of 3.", (Button("Label", "/l", False, True),)
)


@pytest.fixture(autouse=True)
def _routes(application: Any) -> None:
    """Make the application, which makes the addresses known."""


def test_every_finding_tone_and_advice_has_words_that_its_figures_fill() -> None:
    assert set(verdict_words.SENTENCES) == set(Insight) - {Insight.STEP}
    assert set(verdict_words.TONES) == set(Tone)
    assert set(verdict_words.ADVICE) == set(Advice) - {Advice.STEP}
    for name, verdict, _ in VERDICTS:
        words = verdict_words.words(verdict, "desk", STEP)
        assert re.fullmatch(r"[A-Z0-9].*[.)]", words.sentence), (name, words.sentence)
        assert "  " not in words.sentence
        assert not re.search(r"[{}]|\.\.|, [.:]", words.sentence + words.advice), words
        assert bool(words.advice) == (verdict.advice is not Advice.NONE)
        assert words.url.startswith(("/p/desk/", "/l")) or words.advice in (
            "",
            "Have it checked again",
        )


@pytest.mark.parametrize(
    ("verdict", "sentence", "advice"),
    [
        (
            agreement.of(cases.agreeing(cases.LOW, habits=(cases.HASTY,))),
            "Labelers agree less than expected: 52 % [48, 56] against the usual 63–77 %. L2 takes "
            "1 s where others take 24 s, and chooses the first 69 %.",
            "Talk to L2, or add gold comparisons",
        ),
        (
            agreement.of(
                cases.agreeing(cases.EXPECTED, habits=(cases.HASTY,), where=" in round 2")
            ),
            "Labelers agree as expected in round 2: 71 % [67, 75] against the usual 63–77 %. But "
            "L2 takes 1 s where others take 24 s, and chooses the first 69 %.",
            "Talk to L2, or add gold comparisons",
        ),
        (
            agreement.of(cases.agreeing(cases.share(0.4, 0.3, 0.5, 1))),
            "Two or more labelers have judged only 1 comparison; agreement is informative from 30 "
            "on.",
            "Collect more judgments",
        ),
        (
            agreement.of(cases.rated(cases.share(0.2, 0.1, 0.28))),
            "On Tone, labelers agree less than expected: alpha 0.20 [0.10, 0.28] against 0.3 or "
            "more.",
            "Clarify the guidelines",
        ),
        (
            labelers.unusual_of([cases.HASTY] * 3),
            "L2 takes 1 s where others take 24 s, and chooses the first 69 %. 2 more labelers need "
            "attention.",
            "Talk to L2, or add gold comparisons",
        ),
        (
            labelers.unusual_of([cases.HASTY] * 2),
            "L2 takes 1 s where others take 24 s, and chooses the first 69 %. 1 more labeler needs "
            "attention.",
            "Talk to L2, or add gold comparisons",
        ),
        (
            evaluation.of(cases.judged(cases.EVEN)),
            "No evidence of improvement (48 % [39, 57]): hold.",
            "Decide round 2",
        ),
        (
            model.of(model.ModelEvidence("reward", reward=cases.BELOW)),
            "The reward model predicts 64 % [60, 68] of held-out votes: above chance, but fewer "
            "than people do, who predict 71 % of the same votes. 500 more comparisons are expected "
            "to change that by +1.2 points.",
            "Plan a round with more judgments",
        ),
    ],
)
def test_sentences_read_as_prose(verdict: PageVerdict, sentence: str, advice: str) -> None:
    words = verdict_words.words(verdict, "desk")
    assert (words.sentence, words.advice) == (sentence, advice)


def test_advice_on_a_labeler_leads_to_their_row_and_the_link_says_so() -> None:
    unusual = labelers.unusual_of([cases.HASTY])
    assert unusual is not None
    words = verdict_words.words(unusual, "desk")
    assert words.url == "/p/desk/labelers#labeler-L2"
    assert words.link == "See L2’s figures"
    assert verdict_words.words(evaluation.of(cases.judged(cases.EVEN)), "desk").link == ""
