"""Every token that ends a response does so: in sampling, in targets, in saved models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from app.formats.training_rows import JudgedCompletion
from tests.worker.rlhf import tiny
from tests.worker.rlhf.chat_models import FAMILIES, Family
from worker.rlhf.core import batches
from worker.rlhf.model import models, saving, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.sampling import engines
from worker.rlhf.sampling.engines import EngineName, EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import sft, token_ids

TALK = [{"role": "user", "content": "Why?"}]
CLOSE = 1e-6


@pytest.fixture(params=FAMILIES, ids=lambda name: str(name))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def tokens(loaded: LoadedModel) -> tuple[str, ...]:
    return tuple(end.token for end in loaded.ends)


def biased_to(loaded: LoadedModel, token_id: int) -> LoadedModel:
    """Make the token likely, so that some responses end with it and some with another."""
    head = loaded.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight[token_id] *= 4
    return loaded


def test_all_ends_of_a_family_count_and_the_template_says_which_is_written(family: Family) -> None:
    loaded = family.loaded()
    assert tokens(loaded) == family.ends
    ids = [loaded.tokenizer.convert_tokens_to_ids(token) for token in family.ends]
    assert list(loaded.end_ids) == ids
    assert loaded.end_id == loaded.end_ids[0]
    assert loaded.record["ends"][0] == {"id": loaded.end_id, "token": family.ends[0]}


def test_padding_is_none_of_the_ends_and_known_to_the_tokenizer(family: Family) -> None:
    loaded = family.loaded()
    assert loaded.pad_id not in loaded.end_ids
    assert loaded.model.config.pad_token_id == loaded.pad_id == loaded.tokenizer.pad_token_id


def test_ids_beyond_the_vocabulary_are_left_out() -> None:
    loaded = tiny.loaded()
    assert loaded.model.generation_config is not None
    loaded.model.generation_config.eos_token_id = [tiny.EOS, 50_256]
    again = models.adopt(loaded.model, loaded.tokenizer, "tiny")
    assert again.end_ids == (tiny.EOS,)
    assert loaded.model.generation_config.eos_token_id == tiny.EOS


@pytest.mark.parametrize("engine", ["static", "continuous"])
@pytest.mark.parametrize("name", ["alternating", "unmarked end"])
def test_each_end_stops_a_response_and_none_is_in_its_text(name: str, engine: EngineName) -> None:
    loaded = FAMILIES[name].loaded()
    for token_id in loaded.end_ids:
        biased_to(loaded, token_id)
    prompts = [EnginePrompt(str(n), ids) for n, ids in enumerate(tiny.token_ids(3, 5, 8, 4))]
    config = SamplingConfig(n=8, max_new_tokens=24, seed=1)
    drawn = list(engines.in_memory(engine, Roles(loaded)).generate(prompts, config))
    finished = [row for row in drawn if row.finish_reason == "eos"]
    assert {row.token_ids[-1] for row in finished} == set(loaded.end_ids)
    for row in drawn:
        assert not set(row.token_ids[:-1]) & set(loaded.end_ids)
        assert not any(token in row.text for token in tokens(loaded))
    assert all(
        set(row.token_ids).isdisjoint(loaded.end_ids) for row in drawn if row not in finished
    )


def test_finished_texts_end_with_what_the_template_writes(family: Family) -> None:
    loaded = family.loaded()
    ids = template.encode_response(loaded, "Because.", finished=True)
    assert ids[-1] == loaded.end_id
    rendered = template.encode_response(loaded, "Because.", finished=False)
    assert ids[:-1] == rendered
    candidate = JudgedCompletion(1, "Because.", (), is_finished=True, source="", checkpoint_id=None)
    assert token_ids.completion_ids(loaded, candidate, is_ours=False) == tuple(ids)


class Shown:
    messages = TALK
    text = "Because."


def test_sft_learns_to_write_the_end_of_the_turn(family: Family) -> None:
    roles = Roles(family.loaded())
    ((demonstration,), _) = sft.encode(roles, [Shown()], "", 200)
    assert demonstration.response_ids[-1] == roles.loaded.end_id
    whole = [*demonstration.prompt_ids, *demonstration.response_ids]
    if family.template is None or family is FAMILIES["silent"]:
        return
    # What the template writes for the same turns, up to the end of the response.
    turns = [*TALK, {"role": "assistant", "content": "Because."}]
    text = str(roles.loaded.tokenizer.apply_chat_template(turns, tokenize=False))
    written = roles.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    space = roles.loaded.tokenizer(" ", add_special_tokens=False)["input_ids"]
    without = [i for i in written if i not in space] if "[INST]" in text else written
    mine = [i for i in whole if i not in space] if "[INST]" in text else whole
    assert without[: len(mine)] == mine


@pytest.mark.parametrize("name", ["marked", "alternating"])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_plain_transformers_stop_at_every_end_of_a_saved_model(name: str, tmp_path: Path) -> None:
    roles = Roles(FAMILIES[name].loaded())
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    roles.add_adapter("policy", tiny.LORA)
    saving.save_policy(roles, tmp_path / "adapter")
    saving.save_policy(roles, tmp_path / "merged", merged=True)
    for folder in ("base", "adapter", "merged"):
        kept = GenerationConfig.from_pretrained(tmp_path / folder)
        assert set(kept.eos_token_id) == set(roles.loaded.end_ids)
        assert kept.pad_token_id in (None, roles.pad_id)
    again = models.load(tmp_path / "base")
    assert again.ends == roles.loaded.ends
    for make in (AutoModelForCausalLM, AutoPeftModelForCausalLM):
        plain: Any = make.from_pretrained(
            tmp_path / ("adapter" if "Peft" in str(make) else "merged")
        )
        with torch.no_grad():
            plain.get_output_embeddings().weight[roles.loaded.end_id] = 0
            weight = plain.get_output_embeddings().weight
            hidden = plain(torch.tensor([[5, 6]]), output_hidden_states=True).hidden_states[-1]
            weight[roles.loaded.end_id] = 100 * hidden[0, -1]  # the likeliest by far
        ids = plain.generate(input_ids=torch.tensor([[5, 6]]), do_sample=False, max_new_tokens=9)
        assert ids[0, 2:].tolist() == [roles.loaded.end_id]


@pytest.mark.parametrize("name", ["thinking", "headers"])
def test_a_classifier_padded_by_its_own_tokenizer_reads_the_end_of_the_text(
    name: str, tmp_path: Path
) -> None:
    """The tokenizers of these families pad with a token that ends a response."""
    roles = Roles(FAMILIES[name].loaded())
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    roles.add_adapter("reward", tiny.LORA)
    roles.add_head("reward", seed=0)
    saving.save_reward(roles, tmp_path / "reward")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    rows = [[7, 8, 9, 10, roles.loaded.end_ids[-1]], [11, 12, roles.loaded.end_ids[1]]]
    padded = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    batch = batches.pad([(tuple(row), ()) for row in rows], roles.pad_id)
    with torch.no_grad(), roles.role("reward"):
        hidden = roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
        ours = roles.score("reward", hidden[torch.arange(2), batch.last_real])
        theirs = plain(**padded).logits.squeeze(-1)
    torch.testing.assert_close(theirs, ours, rtol=CLOSE, atol=CLOSE)


def test_a_message_cannot_spell_a_token_of_the_template(family: Family) -> None:
    loaded = family.loaded()
    attack = [ChatMessage("user", "".join(["a", *family.tokens, *family.ends, "b"]))]
    honest = [ChatMessage("user", "ab")]
    marks = set(template.special_tokens(loaded.tokenizer))
    ids = {loaded.tokenizer.convert_tokens_to_ids(token) for token in marks}
    found, expected = (
        [
            token_id
            for token_id in template.encode_prompt(
                loaded.tokenizer, template.render_prompt(loaded.tokenizer, talk)
            )
            if token_id in ids
        ]
        for talk in (attack, honest)
    )
    assert found == expected
