"""The rules of verdicts: each page's findings, "not enough yet" first among them."""

import pytest

from app.domain.gates.learning import RewardFigures
from app.domain.page_verdicts import labelers, model
from app.domain.page_verdicts.labelers import LabelerHabits
from app.domain.page_verdicts.model import ModelEvidence, RewardEvidence
from app.domain.page_verdicts.verdict import Insight, PageVerdict
from app.domain.plan import RoundPlan
from tests.domain.page_verdicts.cases import HASTY, VERDICTS, Said, said


@pytest.mark.parametrize(
    ("name", "verdict", "expected"),
    VERDICTS,
    ids=[f"{at}-{one[0]}" for at, one in enumerate(VERDICTS)],
)
def test_each_rule(name: str, verdict: PageVerdict, expected: Said) -> None:
    assert said(verdict) == expected, name


def test_every_finding_has_a_case() -> None:
    assert {verdict.finding for _, verdict, _ in VERDICTS} == set(Insight)


def test_the_labeler_with_most_remarks_is_named_and_whoever_still_judges_first() -> None:
    paused = LabelerHabits("L7", 90, is_away=True, remarks=("a", "b", "c"))
    found = labelers.unusual_of([LabelerHabits("L1", 90, remarks=("a",)), paused, HASTY])
    assert found is not None
    assert found.figures["labeler"] == "L2"
    remarks = "takes 1 s where others take 24 s, and chooses the first 69 %"
    assert found.figures["remarks"] == remarks
    assert labelers.joined(("a", "b", "c")) == "a, b, and c"
    assert labelers.joined(("a",)) == "a"


@pytest.mark.parametrize("low", [0.45, 0.5, 0.500001, 0.6])
def test_a_reward_model_is_at_chance_where_the_check_of_its_round_says_so(low: float) -> None:
    figures = RewardFigures(90, 0.65, low, 0.8, "longer", None, None, 90, 500)
    evidence = RewardEvidence(0.65, low, 0.8, 0.7)
    verdict = model.of(ModelEvidence("reward", reward=evidence))
    assert (verdict.finding is Insight.REWARD_CHANCE) == figures.verdict(RoundPlan()).fires
