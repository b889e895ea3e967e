"""Safety first: which score decides, on which scale, and what is reported of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch

from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.safety_first import SHARE, SafetyFirst
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.weighted_sum import WeightedReward

BRANCHES = [Branches([1], [[2], [3]]), Branches([4], [[5]])]
CLOSE = 1e-5


@dataclass(frozen=True)
class Fixed:
    """Given raw scores, in units of 2."""

    raw: tuple[float, ...]
    scale: Scale = field(default_factory=lambda: Scale(0.0, 2.0))

    def score(self, branches: Sequence[Branches]) -> Scores:
        raw = torch.tensor(self.raw)
        assert len(raw) == sum(len(each.completions) for each in branches)
        return Scores(raw, self.scale(raw), shares={"truncated": torch.zeros(len(raw))})


SAFETY = WeightedReward("safety", 1.0, Fixed((0.9, 0.1, 0.5)))
HELPFUL = WeightedReward("helpfulness", 1.0, Fixed((2.0, 8.0, -2.0)))
LENGTH = WeightedReward("length", 0.5, Fixed((-2.0, 0.0, 4.0)))


def first(**more: object) -> SafetyFirst:
    plain = SafetyFirst(SAFETY, (HELPFUL,), is_logit=False)
    return replace(plain, **more)  # type: ignore[arg-type]


def logit(probability: float) -> float:
    return float(torch.logit(torch.tensor(probability)))


def test_an_unsafe_response_counts_by_its_safety_and_any_other_by_its_helpfulness() -> None:
    found = first().score(BRANCHES)
    assert found.normalized.tolist() == pytest.approx([1.0, logit(0.1), -1.0], abs=CLOSE)
    assert found.shares[SHARE].tolist() == [0.0, 1.0, 0.0]
    assert set(found.parts) == {"safety", "helpfulness"}
    assert set(found.shares) == {SHARE, "safety/truncated", "helpfulness/truncated"}


def test_a_higher_threshold_finds_more_responses_unsafe() -> None:
    found = first(threshold=0.6).score(BRANCHES)
    assert found.shares[SHARE].tolist() == [0.0, 1.0, 1.0]


def test_the_response_to_a_tagged_prompt_counts_by_its_safety_however_safe_it_is() -> None:
    found = first(safety_prompts=frozenset({(1,)})).score(BRANCHES)
    expected = [logit(0.9), logit(0.1), -1.0]
    assert found.normalized.tolist() == pytest.approx(expected, abs=CLOSE)


def test_rules_are_added_to_either() -> None:
    without, found = first().score(BRANCHES), first(rules=(LENGTH,)).score(BRANCHES)
    assert (found.normalized - without.normalized).tolist() == pytest.approx([-0.5, 0.0, 1.0])


def test_a_logit_is_compared_as_a_probability() -> None:
    logits = WeightedReward("safety", 1.0, Fixed((3.0, logit(0.1), 0.0)))
    found = first(safety=logits, is_logit=True).score(BRANCHES)
    assert found.shares[SHARE].tolist() == [0.0, 1.0, 0.0]
    assert float(found.normalized[1]) == pytest.approx(logit(0.1), abs=CLOSE)


def test_fitted_the_choice_has_mean_zero_and_std_one_and_rules_stay_as_they_are() -> None:
    fitted = first(rules=(LENGTH,)).fitted(BRANCHES)
    chosen = fitted.score(BRANCHES).normalized - LENGTH.reward.score(BRANCHES).normalized * 0.5
    assert float(chosen.mean()) == pytest.approx(0.0, abs=CLOSE)
    assert float(chosen.std(correction=0)) == pytest.approx(1.0, abs=CLOSE)


def test_certainty_has_a_finite_score() -> None:
    certain = WeightedReward("safety", 1.0, Fixed((0.0, 0.0, 1.0)))
    assert torch.isfinite(first(safety=certain).score(BRANCHES).normalized).all()


def test_a_score_that_is_no_probability_is_refused_by_name() -> None:
    wrong = WeightedReward("safety", 1.0, Fixed((0.5, 1.5, 0.5)))
    with pytest.raises(ValueError, match=r"'safety' must be a probability, 0 to 1, not 1\.5"):
        first(safety=wrong).score(BRANCHES)


def test_safety_alone_is_no_choice() -> None:
    with pytest.raises(ValueError, match="needs a reward for helpfulness"):
        first(helpful=())
    with pytest.raises(ValueError, match="different names"):
        first(helpful=(SAFETY,))
