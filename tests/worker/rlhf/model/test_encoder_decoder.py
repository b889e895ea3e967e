"""Encoder–decoder models: what encoder and decoder read, how they are sampled, saved and loaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches, logprobs
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import PromptItem, TokenizedDemonstration
from worker.rlhf.model import encoder_decoder, model_inputs, models, saving, template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import continuous_batching, sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import packing

FP32 = 1e-5
MERGED = 1e-4
PEFT_READS_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
Make = Callable[[], LoadedModel]


def first_t5() -> LoadedModel:
    return tiny.loaded_t5(is_flan=False)


FAMILIES: tuple[Make, ...] = (tiny.loaded_t5, first_t5, tiny.loaded_bart)
each_family = pytest.mark.parametrize("make", FAMILIES, ids=["flan-t5", "t5", "bart"])

PROMPTS = tiny.token_ids(4, 9, 6, seed=1)
SEQUENCES = [
    (PROMPTS[0], (5, 6, tiny.EOS)),
    (PROMPTS[1], (*tiny.token_ids(7)[0], tiny.EOS)),
    (PROMPTS[0], (7, 0, 8)),  # the padding id as a real token
    (PROMPTS[2], (9,)),
]


def token_logprobs(roles: Roles, batch: Batch) -> Tensor:
    hidden = model_inputs.before_response(roles, batch)
    return logprobs.of_tokens(hidden, roles.logits, batch.targets)[0]


@torch.no_grad()
def plain_logprobs(model: Any, prefix: tuple[int, ...], row: int) -> Tensor:
    """Log-probabilities by the model's own forward pass, a sequence at a time."""
    prompt, response = SEQUENCES[row]
    decoder_ids = torch.tensor([[*prefix, *response]])
    logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_ids).logits[0]
    start = len(prefix) - 1
    all_logprobs: Tensor = logits[start : start + len(response)].log_softmax(-1)
    return all_logprobs.gather(-1, torch.tensor(response)[:, None]).squeeze(-1)


def made(make: Make) -> Roles:
    base = make()
    return tiny.roles("policy", "reward", heads=("reward",), base=base)


@each_family
def test_log_probs_are_those_of_the_models_own_forward(make: Make) -> None:
    roles = Roles(make())
    found = token_logprobs(roles, model_inputs.padded(roles, SEQUENCES))
    prefix = roles.loaded.decoder_prefix
    expected = [plain_logprobs(roles.causal, prefix, row) for row in range(len(SEQUENCES))]
    torch.testing.assert_close(found, torch.cat(expected), rtol=FP32, atol=FP32)
    assert found.std() > 0.5  # far from uniform


@each_family
def test_log_probs_do_not_depend_on_the_rest_of_the_batch(make: Make) -> None:
    roles = made(make)
    with roles.role("policy"):
        together = token_logprobs(roles, model_inputs.padded(roles, SEQUENCES))
        alone = [token_logprobs(roles, model_inputs.padded(roles, [one])) for one in SEQUENCES]
    torch.testing.assert_close(together, torch.cat(alone), rtol=FP32, atol=FP32)


def test_the_decoder_starts_with_the_start_token_and_a_forced_one() -> None:
    assert tiny.loaded_t5().decoder_prefix == (0,)
    assert tiny.loaded_bart().decoder_prefix == (2, 1)
    assert tiny.loaded().decoder_prefix == ()


def test_a_decoder_without_a_start_token_is_refused() -> None:
    made = tiny.loaded_t5()
    for config in (made.model.config, made.model.generation_config):
        config.decoder_start_token_id = None
        config.bos_token_id = None
    with pytest.raises(ValueError, match="T5ForConditionalGeneration has no decoder_start_token"):
        models.adopt(made.model, made.tokenizer, "x")


def test_equal_prompts_share_a_row_of_the_encoder() -> None:
    batch = batches.beside_encoder(SEQUENCES, (0,), 0)
    assert batch.encoder is not None
    assert batch.encoder.input_ids.shape == (3, 9)
    assert batch.encoder.prompt_of.tolist() == [0, 1, 0, 2]
    assert batch.encoder.is_real.sum(1).tolist() == [4, 9, 6]
    assert batch.input_ids[2, :4].tolist() == [0, 7, 0, 8]
    assert batch.targets.tolist() == [token for _, response in SEQUENCES for token in response]


def test_the_input_of_an_encoder_goes_with_an_encoder() -> None:
    batch = batches.beside_encoder(SEQUENCES, (0,), 0)
    with pytest.raises(ValueError, match="goes with an encoder–decoder model only"):
        Roles(tiny.loaded()).hidden(batch.input_ids, encoder=batch.encoder)
    with pytest.raises(ValueError, match="goes with an encoder–decoder model only"):
        Roles(tiny.loaded_t5()).hidden(batch.input_ids)


@each_family
def test_bf16_autocast_gives_about_the_same_log_probs(make: Make) -> None:
    roles = made(make)
    batch = model_inputs.padded(roles, SEQUENCES)
    with roles.role("policy"), torch.no_grad():
        exact = token_logprobs(roles, batch)
        with models.autocast(True):
            rough = token_logprobs(roles, batch)
    assert 0.0 < (exact - rough).abs().mean() < 0.6


def test_adapters_are_on_q_and_v_of_encoder_and_decoder() -> None:
    roles = Roles(tiny.loaded_t5())
    targets = encoder_decoder.lora_targets(roles.causal)
    roles.add_adapter("policy", LoraSettings(4, 8, targets))
    layers = {name.split(".lora_")[0] for name in roles.named_parameters_of("policy")}
    assert {name.rpartition(".")[2] for name in layers} == {"q", "v"}
    assert len(layers) == 2 * 2 + 2 * 2 * 2  # two layers of an encoder, and of a decoder with two
    assert encoder_decoder.lora_targets(tiny.loaded_bart().model) == ("q_proj", "v_proj")
    assert encoder_decoder.lora_targets(tiny.loaded().model) == "all-linear"


# Prompts


@pytest.mark.parametrize(
    ("make", "around"), [(tiny.loaded_t5, ("", "</s>")), (tiny.loaded_bart, ("<s>", "</s>"))]
)
def test_a_prompt_is_the_bare_instruction_and_text(make: Make, around: tuple[str, str]) -> None:
    tokenizer = make().tokenizer
    turns = [ChatMessage("system", "Summarize."), ChatMessage("user", "A: hi </s> {x}")]
    text = template.render_prompt(tokenizer, turns)
    assert text == f"{around[0]}Summarize.\n\nA: hi < /s> {{x}}{around[1]}"
    ids = template.encode_prompt(tokenizer, text)
    assert ids == tokenizer("Summarize.\n\nA: hi < /s> {x}")["input_ids"]
    assert ids.count(tiny.EOS) == 1


def test_a_template_of_ones_own_is_kept() -> None:
    loaded = tiny.loaded_t5()
    loaded.tokenizer.chat_template = "{{ messages[-1]['content'] }}!"
    again = models.adopt(loaded.model, loaded.tokenizer, "x")
    assert template.render_prompt(again.tokenizer, [ChatMessage("user", "Go")]) == "Go!"


def test_a_decoder_only_model_gets_no_template() -> None:
    assert tiny.loaded().tokenizer.chat_template is None


# Sampling


def items() -> list[PromptItem]:
    return [PromptItem(str(n), ids) for n, ids in enumerate(PROMPTS)]


@each_family
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probs_are_those_of_the_training_forward(
    make: Make, temperature: float
) -> None:
    roles = made(make)
    config = SamplingConfig(n=5, max_new_tokens=12, temperature=temperature, batch_size=10)
    drawn = list(sampling.generate(roles, items(), config, role="policy"))
    assert len({completion.token_ids for completion in drawn}) > 10
    by_key = {item.key: item.prompt_ids for item in items()}
    batch = model_inputs.padded(roles, [(by_key[c.prompt_key], c.token_ids) for c in drawn])
    with roles.role("policy"):
        hidden = model_inputs.before_response(roles, batch)
        found, _ = logprobs.of_tokens(hidden, roles.logits, batch.targets, temperature)
    sampled = torch.tensor([value for completion in drawn for value in completion.logprobs])
    torch.testing.assert_close(found, sampled, rtol=1e-4, atol=1e-4)


def test_rows_that_end_early_leave_the_batch_and_change_nothing() -> None:
    loaded = tiny.loaded_t5()
    with torch.no_grad():
        loaded.model.lm_head.weight[tiny.EOS] *= 3.0  # responses of many lengths
    wide = SamplingConfig(n=8, max_new_tokens=16, batch_size=24)
    narrow = replace(wide, batch_size=8)
    one, other = (
        {(c.prompt_key, c.sample_index): c for c in sampling.generate(loaded, items(), config)}
        for config in (wide, narrow)
    )
    assert {key: c.token_ids for key, c in one.items()} == {
        key: c.token_ids for key, c in other.items()
    }
    lengths = {len(completion.token_ids) for completion in one.values()}
    assert len(lengths) > 4
    assert {completion.finish_reason for completion in one.values()} == {"eos", "length"}


def test_the_encoder_runs_once_for_all_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = made(tiny.loaded_t5)
    rows: list[int] = []
    encode = encoder_decoder.encode

    def counted(model: Any, input_ids: Tensor, is_real: Tensor) -> Tensor:
        rows.append(len(input_ids))
        return encode(model, input_ids, is_real)

    monkeypatch.setattr(encoder_decoder, "encode", counted)
    list(sampling.generate(roles, items(), SamplingConfig(n=6, max_new_tokens=5), "policy"))
    assert rows == [3]
    rows.clear()
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles))
    reward.raw([Branches(PROMPTS[0], [(5,), (6, 7), (8,)]), Branches(PROMPTS[1], [(9,), (4,)])])
    assert rows == [2]


@each_family
def test_greedy_text_is_that_of_plain_generate(make: Make, tmp_path: Path) -> None:
    roles = made(make)
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    saving.save_policy(roles, tmp_path / "policy")
    saving.save_policy(roles, tmp_path / "merged", merged=True)
    config = SamplingConfig(temperature=0.0, max_new_tokens=10)
    ours = {c.prompt_key: c.token_ids for c in sampling.generate(roles, items(), config, "policy")}
    base = {c.prompt_key: c.token_ids for c in sampling.generate(roles, items(), config, "base")}
    assert ours != base
    folders = {"base": base, "policy": ours, "merged": ours}
    for name, expected in folders.items():
        plain: Any = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / name)
        for item in items():
            ids = plain.generate(
                torch.tensor([item.prompt_ids]),
                do_sample=False,
                max_new_tokens=9 + len(roles.loaded.decoder_prefix),
            )[0].tolist()
            response = ids[len(roles.loaded.decoder_prefix) :]
            assert tuple(response) == expected[item.key], name


def test_continuous_batching_is_refused() -> None:
    with pytest.raises(ValueError, match="'continuous' has no encoder–decoder models"):
        next(continuous_batching.generate(tiny.loaded_t5(), items(), SamplingConfig()))


# Saving


@PEFT_READS_AN_OLD_NAME
@each_family
def test_a_policy_is_equal_in_plain_peft(make: Make, tmp_path: Path) -> None:
    roles = made(make)
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    saving.save_policy(roles, tmp_path / "policy")
    plain = AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "policy")
    prefix = roles.loaded.decoder_prefix
    with roles.role("policy"):
        ours = token_logprobs(roles, model_inputs.padded(roles, SEQUENCES))
    theirs = torch.cat([plain_logprobs(plain, prefix, row) for row in range(len(SEQUENCES))])
    torch.testing.assert_close(ours, theirs, rtol=FP32, atol=FP32)


@each_family
def test_base_policy_and_reward_come_back(make: Make, tmp_path: Path) -> None:
    roles = made(make)
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    saving.save_policy(roles, tmp_path / "policy")
    saving.save_reward(roles, tmp_path / "reward")
    again = Roles(models.load(tmp_path / "base"))
    saving.load_policy(again, tmp_path / "policy")
    saving.load_reward(again, tmp_path / "reward")
    assert again.loaded.decoder_prefix == roles.loaded.decoder_prefix
    assert again.settings["policy"].r == tiny.LORA.r
    for role in ("base", "policy"):
        with roles.role(role), again.role(role):
            batch = model_inputs.padded(roles, SEQUENCES)
            assert torch.equal(token_logprobs(again, batch), token_logprobs(roles, batch)), role
    assert torch.equal(scores_of(again), scores_of(roles))


def test_an_output_layer_of_its_own_survives_saving(tmp_path: Path) -> None:
    roles = made(tiny.loaded_t5)
    saving.save_full(roles.loaded, tmp_path / "base")
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    model: Any = roles.causal
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert not torch.equal(head.weight, embedding.weight)
    assert torch.equal(tensors["lm_head.weight"], head.weight)
    assert torch.equal(tensors["shared.weight"], embedding.weight)


def test_the_template_travels_with_the_tokenizer(tmp_path: Path) -> None:
    roles = made(tiny.loaded_t5)
    saving.save_policy(roles, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "system", "content": "Sum"}, {"role": "user", "content": "up"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "Sum\n\nup</s>"


def scores_of(roles: Roles) -> Tensor:
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    return reward.raw([Branches(prompt, [ids]) for prompt, ids in SEQUENCES])[0]


@each_family
def test_completions_of_a_prompt_score_as_they_do_alone(make: Make) -> None:
    roles = made(make)
    reward = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    completions = [response for _, response in SEQUENCES]
    together = reward.raw([Branches(PROMPTS[0], [*completions, ()]), Branches(PROMPTS[1], [(5,)])])
    alone = [reward.raw([Branches(PROMPTS[0], [ids])]) for ids in (*completions, ())]
    alone.append(reward.raw([Branches(PROMPTS[1], [(5,)])]))
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=FP32, atol=FP32)
    assert together.std() > 0.05


@PEFT_READS_AN_OLD_NAME
@each_family
def test_a_reward_models_score_is_the_head_on_the_decoders_last_state(
    make: Make, tmp_path: Path
) -> None:
    roles = made(make)
    roles.loaded = saving.save_full(roles.loaded, tmp_path / "base")
    saving.save_reward(roles, tmp_path / "reward")
    base = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    plain: Any = PeftModel.from_pretrained(base, str(tmp_path / "reward"))
    head = load_file(tmp_path / "reward" / saving.ADAPTER_FILE)[saving.HEAD_KEY]
    scores = []
    for prompt, response in SEQUENCES:
        with torch.no_grad():
            output = plain(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[*roles.loaded.decoder_prefix, *response]]),
                output_hidden_states=True,
            )
        scores.append(output.decoder_hidden_states[-1][0, -1] @ head[0])
    torch.testing.assert_close(scores_of(roles), torch.stack(scores), rtol=FP32, atol=FP32)


def test_a_merged_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T5ForConditionalGeneration has no classifier that"):
        saving.save_reward(made(tiny.loaded_t5), tmp_path, merged=True)


def test_demonstrations_are_padded_not_packed() -> None:
    roles = Roles(tiny.loaded_t5())
    shown = [TokenizedDemonstration(prompt, response) for prompt, response in SEQUENCES]
    found = list(
        packing.micro_batches(roles, shown, packing.probe(roles), row_tokens=64, micro_tokens=30)
    )
    assert sorted(row for batch in found for (row,) in batch.sources) == [0, 1, 2, 3]
    assert all(batch.encoder is not None for batch in found)
