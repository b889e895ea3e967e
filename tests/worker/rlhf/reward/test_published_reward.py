"""Published reward models: their own template and tokens, and only with the head they came with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from tests.worker.rlhf import tiny
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import published_reward, sequence_classifiers
from worker.rlhf.reward.published_reward import PublishedReward
from worker.rlhf.reward.sequence_classifiers import Encoded
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import Texts

CLOSE = 1e-5
TURNS = (ChatMessage("user", "Hello?"),)
WITH_SYSTEM = (ChatMessage("system", "Be kind."), *TURNS)
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}"
)


def made(folder: Path, *, template: str | None = TEMPLATE, pad: int | None = 0) -> Path:
    config = tiny.tiny_config()
    config.num_labels = 1
    config.pad_token_id = pad
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaForSequenceClassification(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    if pad is None:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


def reward(folder: Path) -> PublishedReward:
    known: dict[tuple[int, ...], tuple[ChatMessage, ...]] = {(5,): TURNS, (6,): WITH_SYSTEM}
    return published_reward.load(str(folder), Texts(tiny.tokenizer(), (tiny.EOS,), known))


def branches(prompt: int, *texts: str) -> list[Branches]:
    ours = tiny.tokenizer()
    return [Branches([prompt], [[*ours.encode(text), tiny.EOS] for text in texts])]


@torch.no_grad()
def plain(folder: Path, *texts: str) -> float:
    """Score one text, or a pair, as the model's page says: no padding, plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    is_rendered = tokenizer.chat_template is not None
    encoded = tokenizer(*texts, return_tensors="pt", add_special_tokens=not is_rendered)
    return float(model(encoded["input_ids"]).logits[0, 0])


@torch.no_grad()
def score_of_ids(folder: Path, ids: list[int]) -> float:
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return float(model(torch.tensor([ids])).logits[0, 0])


@pytest.mark.parametrize("pad", [0, None])
def test_a_conversation_is_rendered_in_the_models_own_template(
    tmp_path: Path, pad: int | None
) -> None:
    folder = made(tmp_path, pad=pad)
    found = reward(folder).raw(branches(5, "Hi.", "Go away, please!"))
    expected = [
        plain(folder, f"[user]Hello?</s>[assistant]{text}</s>")
        for text in ("Hi.", "Go away, please!")
    ]
    assert found.tolist() == pytest.approx(expected, abs=CLOSE)


def test_a_system_turn_that_the_template_refuses_is_put_before_the_first_turn(
    tmp_path: Path,
) -> None:
    folder = made(tmp_path)
    found = reward(folder).raw(branches(6, "Hi."))
    text = "[user]Be kind.\n\nHello?</s>[assistant]Hi.</s>"
    assert float(found[0]) == pytest.approx(plain(folder, text), abs=CLOSE)


def test_without_a_template_prompt_and_response_are_a_pair_of_texts(tmp_path: Path) -> None:
    folder = made(tmp_path, template=None)
    found = reward(folder).raw(branches(5, "Hi."))
    assert float(found[0]) == pytest.approx(plain(folder, "Hello?", "Hi."), abs=CLOSE)


def test_a_conversation_that_is_too_long_keeps_its_end_and_is_counted(tmp_path: Path) -> None:
    folder = made(tmp_path)
    scores = reward(folder).score(branches(5, "x" * 400, "y"))
    assert scores.shares["truncated"].tolist() == [1.0, 0.0]
    ids = tiny.tokenizer().encode(f"[user]Hello?</s>[assistant]{'x' * 400}</s>")
    assert float(scores.raw[0]) == pytest.approx(score_of_ids(folder, ids[-256:]), abs=CLOSE)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_without_a_padding_token_a_batch_scores_each_text_at_its_own_end(
    tmp_path: Path, last: int
) -> None:
    folder = made(tmp_path, pad=None)
    texts = [[9, 8, 7, 6, last], [5, last]]
    model = sequence_classifiers.load(folder)
    found = model.logits([Encoded(ids, [0] * len(ids)) for ids in texts], 1000)[:, 0]
    expected = [score_of_ids(folder, ids) for ids in texts]
    assert found.tolist() == pytest.approx(expected, abs=CLOSE)


def test_a_causal_model_is_refused_for_its_missing_head(tmp_path: Path) -> None:
    LlamaForCausalLM(tiny.tiny_config()).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no classification head \(architecture: LlamaForCausal"):
        reward(tmp_path)


def test_weights_without_a_trained_head_are_refused_by_name(tmp_path: Path) -> None:
    folder = made(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack score\.weight; .*would be random"):
        reward(folder)


def test_a_model_with_several_labels_is_named_a_classifier(tmp_path: Path) -> None:
    config = tiny.tiny_config()
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match=r"has 3 labels .* use it as a classifier"):
        published_reward.check(str(tmp_path))


def test_a_missing_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        sequence_classifiers.config_of(tmp_path / "nowhere")
