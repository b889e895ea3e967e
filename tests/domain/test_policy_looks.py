"""The evaluations of a policy's training stay within their share of its time."""

import pytest

from app.domain import policy_looks
from app.domain.plan import Algorithm, PolicyPlan
from app.domain.policy_looks import PROMPTS_LEAST, Looks
from app.domain.step_counts import LOOKS_SHARE


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("steps", [1, 20, 300])
@pytest.mark.parametrize("batch_size", [4, 64])
@pytest.mark.parametrize("heldout", [8, 64, 500])
def test_looks_stay_within_their_share_or_are_as_few_as_can_be(
    algorithm: Algorithm, steps: int, batch_size: int, heldout: int
) -> None:
    policy = PolicyPlan(algorithm=algorithm, batch_size=batch_size, heldout_prompts=heldout)
    looks = policy_looks.plan(policy, steps, heldout)
    is_least = looks.every == steps and looks.prompts == min(heldout, PROMPTS_LEAST)
    assert looks.share <= LOOKS_SHARE or is_least
    assert looks.every >= policy.evaluation_interval(steps)


def test_a_usual_run_is_evaluated_as_wanted_and_an_expensive_one_on_fewer_prompts() -> None:
    usual = policy_looks.plan(PolicyPlan(), 20, 64)
    assert (usual.every, usual.prompts) == (3, 64)
    assert usual.share == pytest.approx(0.13, abs=0.01)
    dpo = PolicyPlan(algorithm=Algorithm.DPO, batch_size=16)
    spared = policy_looks.plan(dpo, 25, 64)
    assert spared.prompts < 64
    assert spared.every > dpo.evaluation_interval(25)
    assert spared.share <= LOOKS_SHARE


def test_an_interval_that_is_set_is_kept_and_without_prompts_nothing_is_evaluated() -> None:
    often = PolicyPlan(algorithm=Algorithm.DPO, batch_size=16, evaluate_every=1)
    looks = policy_looks.plan(often, 25, 64)
    assert (looks.every, looks.prompts) == (1, 64)
    assert looks.share > 1.0
    assert policy_looks.plan(PolicyPlan(), 20, 0) == Looks(3, 0, 0.0)
