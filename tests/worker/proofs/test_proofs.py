import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from app.domain.choosing import ChoiceRule
from app.domain.plan import Starter
from tests.worker.proofs import __main__ as proofs
from tests.worker.proofs import choosing, climb, overdone, rates, safety
from tests.worker.proofs.claims import Claim, Tally
from tests.worker.proofs.course import Look
from tests.worker.proofs.desk import Sizes
from tests.worker.proofs.rates import Case
from tests.worker.proofs.untuned import __main__ as untuned
from tests.worker.proofs.untuned import bases, worlds
from tests.worker.proofs.untuned.bases import BASES
from tests.worker.proofs.untuned.whole_rounds import Sizes as RoundSizes
from tests.worker.runs import small
from worker.rlhf.policy import stopping
from worker.rlhf.policy.stopping import Observation

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


def test_another_overlap_spreads_as_many_judgments_over_other_comparisons() -> None:
    once, thrice = (climb.spread(Sizes(), overlap) for overlap in (1, 3))
    assert (once.labelled, once.watched) == (3 * thrice.labelled, 3 * thrice.watched)
    assert thrice == Sizes()


def test_claims_about_models_that_learned_nothing_do_not_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert proofs.main(["--seeds", "1"], TINY) == 1
    said = capsys.readouterr().out
    assert said.count("✓") + said.count("✗") == 7
    assert "✗ DOES NOT HOLD: accuracy on the truth rises with labels" in said


def test_what_the_third_round_gains_has_to_hold_for_five_of_six(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def counted(*holds: bool) -> bool:
        made = [Claim("", one, Tally.GAIN) for one in holds]
        return proofs.count(Tally.GAIN, made)

    assert counted(*[True] * 5, False)
    assert not counted(*[True] * 4, False, False)
    assert not counted(True, True, False)
    assert "DOES NOT HOLD: the third round gains 1.5 times as much as the first: 2 of 3" in (
        capsys.readouterr().out
    )


@pytest.mark.slow  # half a minute of one core for a command that measures, not for the product
def test_variants_share_what_they_have_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--seeds", "1", "--rounds", "2", "--shelf", str(tmp_path)]
    assert climb.main(["restart", "last", *given], TINY) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [
        f"{name}, default 1, round {number}" for name in ("restart", "last") for number in (1, 2)
    ]
    kept = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert kept.count("policy") == 3  # the first round of "restart" and of "last" is the same
    assert kept.count("reward") == 2


def test_a_replay_ends_and_keeps_weights_as_the_run_would_have() -> None:
    rows = [(0.0, 0.0), (1.0, 0.3), (0.9, 0.2), (0.8, -0.4), (1.6, -0.9)]  # reward, truth
    calm = Observation(0, 0.0, 1.0, 40.0, 2.0)
    record = overdone.Record(
        tuple(Look(step, reward, true, 1.0) for step, (reward, true) in enumerate(rows)),
        (),
        tuple(replace(calm, step=n, heldout_reward=reward) for n, (reward, _) in enumerate(rows)),
        0.6,
        (),
        "",
    )
    ended = overdone.replay(record, [stopping.HeldoutPeak(patience=2)])
    assert (ended.step, ended.stop.is_alarm, ended.kept) == (3, True, record.peak)
    ended = overdone.replay(record, [])
    assert (ended.step, ended.stop.is_alarm, ended.kept) == (4, False, record.looks[4])
    ended = overdone.replay(record, [stopping.RewardTarget(1.5)])
    assert (ended.step, ended.kept) == (4, record.looks[4])  # an end that is no alarm may be best
    ended = overdone.replay(record, [stopping.KlBudget(0.5)])
    assert (ended.step, ended.kept) == (1, record.looks[0])  # the weights of an alarm are not kept


@pytest.mark.parametrize("options", [(), ("--lora",)])
def test_choosing_is_measured_at_every_number_of_comparisons(
    tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(small.save_tiny_llama(tmp_path))
    sizes = choosing.Sizes(3, (4, 5), pool=8, members=2, test=4, watched=2)
    assert choosing.main(["--model", model, "--seeds", "1", *options], sizes) == 0
    figures, *gains = capsys.readouterr().out.splitlines()
    assert {f"{rule} {count}" for rule in ChoiceRule for count in (4, 5)} < set(json.loads(figures))
    assert len(gains) == 2 * len(sizes.rules)


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


def test_a_chosen_rate_is_compared_with_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("starter", Starter(300, 16, 1, 2), is_starter=True)
    assert rates.main(["--rows", "24", "--grid", "1e-3"], [case]) == 0  # too few for a search
    assert rates.main(["--rows", "24", "--grid", "1e-1"], [case]) == 1
    said = capsys.readouterr().out
    assert "at 0.001 | +0.0% |" in said
    assert said.count("| starter, width 16, 300 tokens |") == 2


@pytest.mark.slow  # twenty trainings
def test_the_rate_that_is_chosen_for_sft_is_close_to_the_best_of_a_grid() -> None:
    assert rates.main([]) == 0


def _smallest(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    end = tokenizer.convert_tokens_to_ids(bases.END)
    shape = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=len(tokenizer), eos_token_id=end)
    return GPT2LMHeadModel(shape)


def test_a_base_model_that_learned_nothing_is_stopped_and_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = replace(BASES["travel"], build=_smallest, vocabulary=270, texts=4, demonstrations=0)
    arguments = ["--models", "few", "--seeds", "0", "--models-folder", str(tmp_path)]
    assert untuned.main(arguments, RoundSizes(6, 2, 2, 2), {"few": few}) == 0
    said = capsys.readouterr().out
    assert "| ✓ few | 0 |" in said
    assert "| none | stopped: " in said


@pytest.mark.parametrize(
    ("world", "prompt", "better", "worse"),
    [
        (worlds.RECIPES, "I have too many leeks from Oti?", "Cook the leeks.", "Cook the eggs."),
        (worlds.RECIPES, "I have too many leeks from Oti?", "Add sage.", "Add salt."),
        (worlds.RECIPES, "I have too many leeks from Oti?", "Stir.", "Stir the rice until soft."),
        (worlds.TRAVEL, "I have a day in Cork", "It costs 9 euros.", "It is far."),
        (worlds.TRAVEL, "I have a day in Cork", "With pleasure.", "Hurry up."),
        (worlds.TRAVEL, "I have a day in Cork", "Walk to Cork.", "Walk to Graz."),
        (worlds.WEATHER, "Nesvor NOW", "TEMP 2 C. VIS 4 KM.", "TEMP 2 C."),
        (worlds.WEATHER, "Nesvor NOW", "WARNING: ICE INLAND.", "IT IS HARD TO SAY."),
    ],
)
def test_the_tastes_of_the_worlds(
    world: worlds.World, prompt: str, better: str, worse: str
) -> None:
    assert world.utility(prompt, better) > world.utility(prompt, worse)
