from pathlib import Path

import pytest
import torch

from worker.rlhf.model import models, saving, starter

TEXTS = ["How do I renew my card?", "You renew it at the desk.", "The card costs 5 euros."] * 20


def test_default_shape_has_the_planned_size() -> None:
    made = starter.build(TEXTS, seed=0)
    assert made.model.num_parameters() == pytest.approx(2.8e6, rel=0.05)
    assert len({made.end_id, made.pad_id, made.tokenizer.bos_token_id}) == 3


def test_same_seed_gives_the_same_model_and_leaves_chance_alone() -> None:
    chance = torch.get_rng_state()
    first, again, other = (starter.build(TEXTS, layers=1, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(chance, torch.get_rng_state())
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    twins = zip(first.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in twins)
    assert not torch.equal(next(first.model.parameters()), next(other.model.parameters()))


def test_tokenizer_learned_the_texts_and_still_spells_everything() -> None:
    tokenizer = starter.build(TEXTS, layers=1, seed=0).tokenizer
    assert len(tokenizer(TEXTS[0])["input_ids"]) < len(TEXTS[0]) / 2
    for text in (TEXTS[1], "Ünïcödé 🙂\n\ttabs", "  spaces  "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_survives_a_folder(tmp_path: Path) -> None:
    made = starter.build(TEXTS, layers=1, seed=0)
    saved = saving.save_full(made, tmp_path)
    again = models.load(tmp_path)
    assert saved.path == again.path == str(tmp_path)
    assert (again.end_ids, again.pad_id) == (made.end_ids, made.pad_id)
    assert again.tokenizer.chat_template == made.tokenizer.chat_template
    ids = torch.tensor([made.tokenizer(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, made.model(ids).logits)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size must be at least 262, got 100"):
        starter.build(TEXTS, vocab_size=100, seed=0)
    with pytest.raises(ValueError, match="width 100 does not split into 6 heads"):
        starter.build(TEXTS, width=100, seed=0)
