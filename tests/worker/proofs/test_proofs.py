import pytest

from tests.worker.proofs import __main__ as proofs
from tests.worker.proofs import safety
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


SMALL = safety.Sizes(
    demonstrations=60,
    judgments=60,
    prompts=16,
    test=8,
    sft_epochs=1,
    steps=2,
    episodes=8,
    width=16,
)


def test_safety_first_is_told_of_models_that_learned_nothing_as_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert safety.main(["--seeds", "1"], SMALL) in (0, 1)
    said = capsys.readouterr().out
    assert "logits higher with safety first" in said
    for part in ("helpfulness", "safety", "length"):
        assert f"reward/part/{part} " in said


@pytest.mark.slow
def test_safety_first_makes_a_policy_safer_on_one_seed() -> None:
    assert safety.main(["--seeds", "1"]) == 0
