"""Who writes the candidates of a round: shares that hold over the prompts."""

from statistics import fmean

import pytest

from app.domain.plan import RoundPlan
from app.models import Checkpoint, Prompt
from worker.runs.candidate_models import CandidateModels

PROMPTS = [Prompt(id=n, content_hash=f"{n:064x}") for n in range(2000)]


def models_of(candidates: int, share: float, *, has_initial: bool = True) -> CandidateModels:
    plan = RoundPlan(candidates=candidates, policy_share=share, mix_share=0.5)
    initial = Checkpoint(id=1) if has_initial else None
    return CandidateModels(Checkpoint(id=2), initial, (Checkpoint(id=3),), plan, round_id=7)


@pytest.mark.parametrize("candidates", [1, 2, 4, 5])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_policy_writes_its_share_of_the_candidates(candidates: int, share: float) -> None:
    models = models_of(candidates, share)
    counts = [models.by_policy(prompt) for prompt in PROMPTS]
    assert fmean(counts) == pytest.approx(share * candidates, abs=0.05)
    assert max(counts) - min(counts) <= 1
    assert counts == [models.by_policy(prompt) for prompt in PROMPTS]  # also when asked again


def test_a_policy_without_a_model_beneath_it_writes_all() -> None:
    assert models_of(4, 0.25, has_initial=False).by_policy(PROMPTS[0]) == 4


def test_earlier_models_take_part_on_their_share_of_the_prompts() -> None:
    models = models_of(4, 0.25)
    mixed = [models.mixed(prompt) is not None for prompt in PROMPTS]
    by_policy = [models.by_policy(prompt) for prompt in PROMPTS]
    assert fmean(mixed) == pytest.approx(0.5, abs=0.05)
    assert len(set(by_policy)) == 1  # a whole number: nothing is drawn
