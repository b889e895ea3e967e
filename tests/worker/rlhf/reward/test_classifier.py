"""Other people's classifiers as rewards: whose tokens, which label, what does not matter."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from tests.worker.rlhf import tiny
from worker.rlhf.reward import classifier
from worker.rlhf.reward.classifier import ClassifierReward
from worker.rlhf.reward.shared_prefix import Branches

TOLERANCE = 1e-5
LABELS = {0: "Harmless", 1: "toxic"}
TEXTS = ("good", "a longer answer", "bad", "")


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose tokens are the bytes, shifted: none of ours means the same to it."""
    path = tmp_path_factory.mktemp(request.param)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        size: dict[str, Any] = {
            "vocab_size": 259,
            "pad_token_id": 0,
            "num_labels": 2,
            "id2label": LABELS,
        }
        if request.param == "bert":
            config = BertConfig(
                **size,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=48,
                max_position_embeddings=40,
            )
            BertForSequenceClassification(config).save_pretrained(path)
        else:
            wide = GPT2Config(**size, n_embd=32, n_layer=2, n_head=2, n_positions=40)
            GPT2ForSequenceClassification(wide).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def loaded(folder: Path, label: str = "toxic", *, reads_prompt: bool = False) -> ClassifierReward:
    return classifier.load(folder, label, tiny.tokenizer(), reads_prompt=reads_prompt)


def branches(prompt: str, texts: Sequence[str]) -> Branches:
    ours = tiny.tokenizer()
    return Branches(ours.encode(prompt), [[*ours.encode(text), tiny.EOS] for text in texts])


@torch.no_grad()
def their_logit(folder: Path, *texts: str, label: int = 1) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer(*texts, return_tensors="pt", truncation=True, max_length=40)
    return float(model(**encoded).logits[0, label])


def test_the_reward_is_the_named_labels_logit_of_the_text_alone(folder: Path) -> None:
    scored_branches = [branches("first", TEXTS[:3]), branches("second", TEXTS[:1])]
    expected = [their_logit(folder, text) for text in (*TEXTS[:3], TEXTS[0])]
    for budget in (1, 30, 1000):
        model = loaded(folder)
        one = ClassifierReward(model.classifier, model.label, model.writer, token_budget=budget)
        assert one.raw(scored_branches).tolist() == pytest.approx(expected, abs=TOLERANCE)


def test_labels_are_found_by_name_or_number(folder: Path) -> None:
    expected = their_logit(folder, "good", label=0)
    for label in ("Harmless", "harmless", "0"):
        found = loaded(folder, label).raw([branches("p", ["good"])])
        assert float(found[0]) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("label", "words"),
    [("rude", "no label 'rude'; it has Harmless, toxic"), ("", "one must be named")],
)
def test_an_unknown_label_is_refused_with_those_there_are(
    folder: Path, label: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        loaded(folder, label)


def test_with_the_prompt_the_classifier_reads_a_pair(folder: Path) -> None:
    found = loaded(folder, reads_prompt=True).raw([branches("first", ["good"])])
    assert float(found[0]) == pytest.approx(their_logit(folder, "first", "good"), abs=TOLERANCE)


def test_a_response_too_long_for_the_classifier_is_truncated_at_its_end(folder: Path) -> None:
    found = loaded(folder).raw([branches("p", ["x" * 60, "x" * 40])])
    assert float(found[0]) == pytest.approx(float(found[1]), abs=TOLERANCE)


@torch.no_grad()
def their_logits(folder: Path, text: str) -> torch.Tensor:
    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    logits: torch.Tensor = model(**encoded).logits[0]
    return logits


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (None, lambda logits: logits.softmax(0)),
        ("single_label_classification", lambda logits: logits.softmax(0)),
        ("multi_label_classification", torch.sigmoid),
    ],
)
def test_a_probability_is_one_of_several_or_of_each_label_by_itself(
    folder: Path,
    problem: str | None,
    expected: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    config = AutoConfig.from_pretrained(folder, problem_type=problem)
    logits = their_logits(folder, "good")
    found = classifier.probabilities(logits[None], config)[0]
    assert found.tolist() == pytest.approx(expected(logits).tolist(), abs=TOLERANCE)


def test_the_probability_of_a_label_can_be_the_reward(folder: Path) -> None:
    reward = classifier.load(folder, "toxic", tiny.tokenizer(), form="probability")
    expected = float(their_logits(folder, "good").softmax(0)[1])
    found = reward.raw([branches("p", ["good"])])
    assert float(found[0]) == pytest.approx(expected, abs=TOLERANCE)


def test_a_regression_has_no_probability(folder: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(folder, num_labels=1, problem_type="regression")
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a regression and has no probability"):
        classifier.check(str(tmp_path), "", "probability")


def test_a_truncated_text_is_counted(folder: Path) -> None:
    shares = loaded(folder).score([branches("p", ["x" * 60, "x"])]).shares
    assert shares["truncated"].tolist() == [1.0, 0.0]


def test_an_empty_response_has_a_score(folder: Path) -> None:
    assert torch.isfinite(loaded(folder).raw([branches("p", [""])])).all()


def test_fitted_it_is_mean_zero_and_std_one_on_the_responses_it_was_fitted_to(folder: Path) -> None:
    scored_branches = [branches("p", TEXTS)]
    found = loaded(folder).fitted(scored_branches).score(scored_branches).normalized
    assert float(found.mean()) == pytest.approx(0.0, abs=TOLERANCE)
    assert float(found.std(correction=0)) == pytest.approx(1.0, abs=TOLERANCE)


def test_weights_that_are_not_safetensors_are_not_read(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        loaded(tmp_path)


def test_asking_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="no completion"):
        loaded(folder).score([])
