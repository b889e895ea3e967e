"""The models of the example, made on the spot: a small FLAN-T5-shaped one, and a classifier.

Both have a tokenizer of their own, trained on generated text. Where a hub can be reached, published
models take their place.
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from examples import dialogue_grammar
from examples.dialogue_grammar import Dialogue
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models as loaded_models
from worker.rlhf.model import saving, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

LABELS = ("nothate", "hate")
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def prompt_ids(tokenizer: Any, instruction: str, dialogue: Dialogue) -> tuple[int, ...]:
    """Return the ids of an instruction and a dialogue."""
    turns = [ChatMessage("system", instruction), ChatMessage("user", dialogue.text)]
    text = template.render_prompt(tokenizer, turns)
    return tuple(template.encode_prompt(tokenizer, text))


def demonstration(
    loaded: LoadedModel, instruction: str, dialogue: Dialogue, response: str
) -> TokenizedDemonstration:
    """Return an instruction, a dialogue and the response to imitate as ids."""
    ids = template.encode_response(loaded, response, finished=True)
    return TokenizedDemonstration(prompt_ids(loaded.tokenizer, instruction, dialogue), tuple(ids))


def small_t5(
    dialogues: Sequence[Dialogue], folder: Path, *, steps: int, seed: int
) -> tuple[LoadedModel, float]:
    """Make a T5 of the shape of FLAN, train it on several tasks, and return it with its loss."""
    chance = random.Random(seed)
    shown = [
        (instruction, dialogue, response)
        for dialogue in dialogues
        for instruction, response in dialogue_grammar.tasks(dialogue, chance)
    ]
    tokenizer = _sentence_pieces(f"{task} {dialogue.text} {text}" for task, dialogue, text in shown)
    # As T5 1.1 and FLAN: gated, and logits not scaled. The library's annotations lack two of these.
    more: dict[str, Any] = {"tie_word_embeddings": False, "decoder_start_token_id": 0}
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=96,
        d_kv=24,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **more,
    )
    torch.manual_seed(seed)
    loaded = loaded_models.adopt(T5ForConditionalGeneration(config), tokenizer, "small-t5")
    training = SftConfig(
        epochs=100,
        max_steps=steps,
        batch_size=48,
        learning_rate=4e-3,
        full=True,
        micro_tokens=1 << 14,
        seed=seed,
    )
    encoded = [demonstration(loaded, *parts) for parts in shown]
    loss = float("nan")
    for report in finetuning.train(loaded, encoded, training, TrainingState()):
        loss = report.metrics["loss"]
    return saving.save_full(loaded, folder), loss


def small_classifier(
    dialogues: Sequence[Dialogue], folder: Path, *, steps: int, seed: int
) -> float:
    """Make a RoBERTa with two labels, train it on sentences, save it, and return its accuracy."""
    chance = random.Random(seed)
    sentences = [pair for each in dialogues for pair in dialogue_grammar.remarks(each, chance)]
    chance.shuffle(sentences)
    tokenizer = _byte_pairs(text for text, _ in sentences)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=130,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    torch.manual_seed(seed)
    model = RobertaForSequenceClassification(config)
    heldout, train = sentences[:200], sentences[200:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for step in range(steps):
        batch = [train[(step * 32 + row) % len(train)] for row in range(32)]
        model(**_encoded(tokenizer, batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        inputs = _encoded(tokenizer, heldout)
        is_right = model(**inputs).logits.argmax(-1) == inputs["labels"]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return float(is_right.float().mean())


def _encoded(tokenizer: Any, sentences: Sequence[tuple[str, bool]]) -> dict[str, torch.Tensor]:
    inputs = tokenizer([text for text, _ in sentences], padding=True, return_tensors="pt")
    return {**inputs, "labels": torch.tensor([int(is_hateful) for _, is_hateful in sentences])}


def _sentence_pieces(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer as T5 has one: pieces of words that begin with ▁, and a text ends in </s>.

    By merging pairs, since a unigram model leaves so few words in single letters.
    """
    trained = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trained.normalizer = normalizers.Replace("\n", " ")
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[PAD, END, UNKNOWN], show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    trained.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, 1)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )


def _byte_pairs(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer of the kind that RoBERTa has: <s> a text </s>."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel()
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    trained.post_processor = processors.TemplateProcessing(
        single=f"<s> $A {END}", special_tokens=[("<s>", 0), (END, 2)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained,
        bos_token="<s>",
        cls_token="<s>",
        pad_token=PAD,
        eos_token=END,
        sep_token=END,
        model_max_length=128,
    )
