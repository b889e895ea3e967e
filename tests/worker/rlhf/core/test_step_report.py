import pytest

from worker.rlhf.core.step_report import Diverged, StepReport


@pytest.mark.parametrize("name", ["loss", "loss/policy", "grad_norm/value"])
def test_a_run_whose_weights_are_lost_ends_with_the_number_and_its_name(name: str) -> None:
    with pytest.raises(Diverged, match=f"step 7: {name} is nan; a lower learning rate"):
        StepReport(7, 9, {name: float("nan")})


def test_other_figures_may_be_undefined() -> None:
    assert StepReport(1, 2, {"value/explained_variance": float("nan")}).step == 1
