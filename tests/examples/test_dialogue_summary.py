"""The dialogue-summary example: it runs from end to end, and its figures are what they say."""

import random
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM

from examples import dialogue_grammar, dialogue_summary
from examples.dialogue_grammar import INSULTS, SLURS
from examples.dialogue_summary import Sizes, Toxicity

SMALL = Sizes(
    training=40,
    heldout=10,
    classifier_steps=10,
    pretraining_steps=2,
    sft_epochs=1,
    ppo_steps=1,
    episodes=8,
)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # PEFT reads a renamed property
def test_the_example_runs_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    options = dialogue_summary.parse(["--out", str(tmp_path / "out"), "--seed", "3"])
    found = dialogue_summary.run(options, tmp_path, SMALL)
    torch.set_num_threads(threads)

    printed = capsys.readouterr().out
    assert "SFT with LoRA on q, v: " in printed
    assert "parameters are trained (" in printed
    assert printed.count("  before (") == printed.count("  after  (") == 10
    assert "95 % interval" in printed
    assert len(found.before) == len(found.after) == 10
    assert all(0.0 <= value <= 1.0 for value in (*found.before, *found.after))
    assert AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "out" / "policy") is not None


def test_a_fall_is_paired_and_its_interval_narrows_with_agreement() -> None:
    found = Toxicity(before=(0.9, 0.5, 0.7), after=(0.7, 0.3, 0.5))
    assert found.fall == pytest.approx((0.2, 0.2, 0.2))
    assert found.improvement_percent == pytest.approx(100 * 0.2 / 0.7)
    scattered = Toxicity(before=(0.9, 0.1, 0.7), after=(0.1, 0.9, 0.5))
    mean, low, high = scattered.fall
    assert low < 0.0 < mean < high


def test_dialogues_differ_and_a_share_of_their_summaries_is_rude() -> None:
    made = dialogue_grammar.dialogues(200, seed=1)
    assert len({dialogue.text for dialogue in made}) == 200
    assert made == dialogue_grammar.dialogues(200, seed=1)
    chance = random.Random(0)
    for share in (0.0, 0.5, 1.0):
        texts = [dialogue_grammar.summary(each, chance, rude_share=share) for each in made]
        rude = sum(any(word in text for word in (*INSULTS, *SLURS)) for text in texts)
        assert rude / 200 == pytest.approx(share, abs=0.12)
    assert all(name in texts[n] for n, each in enumerate(made) for name in each.names)


def test_what_the_classifier_learns_from_is_labelled_by_its_words() -> None:
    chance = random.Random(0)
    for dialogue in dialogue_grammar.dialogues(20, seed=2):
        for text, is_hateful in dialogue_grammar.remarks(dialogue, chance):
            assert any(word in text for word in (*INSULTS, *SLURS)) is is_hateful, text
