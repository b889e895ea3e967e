import pytest

from tests.worker.proofs import __main__ as proofs
from tests.worker.proofs.desk import Sizes

TINY = Sizes(
    rounds=1,
    demonstrations=40,
    sft_steps=2,
    labelled=3,
    watched=2,
    test=4,
    policy_prompts=4,
    policy_steps=1,
    looks=2,
    episodes=2,
    labels=(2, 4),
    few_labels=2,
    overdone_steps=2,
)


def test_claims_about_models_that_learned_nothing_do_not_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert proofs.main(["--seeds", "1"], TINY) == 1
    said = capsys.readouterr().out
    assert said.count("✓") + said.count("✗") == 7
    assert "✗ DOES NOT HOLD: accuracy on the truth rises with labels" in said


@pytest.mark.slow
def test_the_claims_hold_on_one_seed() -> None:
    assert proofs.main(["--seeds", "1"]) == 0
