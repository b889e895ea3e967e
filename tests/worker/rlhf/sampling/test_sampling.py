import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches, logprobs
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import decoding, sampling
from worker.rlhf.sampling.sampling import SamplingConfig

FP32 = 1e-4
CONFIG = SamplingConfig(n=3, max_new_tokens=24, seed=5, batch_size=12)


def prompts(count: int = 7) -> list[PromptItem]:
    lengths = [3 + (5 * index) % 11 for index in range(count)]
    return [
        PromptItem(f"p{index}", ids) for index, ids in enumerate(tiny.token_ids(*lengths, seed=3))
    ]


def by_key(completions: list[SampledCompletion]) -> dict[tuple[str, int], SampledCompletion]:
    return {(c.prompt_key, c.sample_index): c for c in completions}


@pytest.fixture
def ending(roles: Roles) -> Roles:
    """Roles whose models often end early, so that rows leave at different times."""
    head = roles.causal.get_output_embeddings()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight[tiny.EOS] *= 2.5
    return roles


def test_every_prompt_gets_its_completions_together_and_in_order(ending: Roles) -> None:
    found = list(sampling.generate(ending, prompts(), CONFIG, role="policy"))
    assert len(found) == 21
    for start in range(0, 21, 3):
        some = found[start : start + 3]
        assert [c.sample_index for c in some] == [0, 1, 2]
        assert len({c.prompt_key for c in some}) == 1
        assert len({c.token_ids for c in some}) > 1


def test_completions_do_not_depend_on_what_else_is_in_the_batch(ending: Roles) -> None:
    together = by_key(list(sampling.generate(ending, prompts(), CONFIG, role="policy")))
    alone = by_key(
        [
            completion
            for prompt in reversed(prompts())
            for completion in sampling.generate(ending, [prompt], CONFIG, role="policy")
        ]
    )
    assert {k: c.token_ids for k, c in together.items()} == {
        k: c.token_ids for k, c in alone.items()
    }


def test_fewer_samples_or_tokens_are_the_beginning_of_more(ending: Roles) -> None:
    more = by_key(list(sampling.generate(ending, prompts(), CONFIG, role="policy")))
    config = replace(CONFIG, n=1, max_new_tokens=6)
    for completion in sampling.generate(ending, prompts(), config, role="policy"):
        assert completion.token_ids == more[completion.prompt_key, 0].token_ids[:6]


def test_other_seeds_give_other_completions(ending: Roles) -> None:
    first = by_key(list(sampling.generate(ending, prompts(), CONFIG, role="policy")))
    other = by_key(
        list(sampling.generate(ending, prompts(), replace(CONFIG, seed=6), role="policy"))
    )
    assert sum(first[key].token_ids == other[key].token_ids for key in first) < 3


def test_every_completion_has_chances_of_its_own() -> None:
    drawn = {
        tuple(sampling.uniforms(seed, key, index, 4))
        for seed in (0, 1)
        for key in ("a", "b", "1")
        for index in (0, 1, 11)
    }
    assert len(drawn) == 18
    whole = sampling.uniforms(3, "a", 0, 50)
    assert sampling.uniforms(3, "a", 0, 7).tolist() == whole[:7].tolist()
    assert whole.min() >= 0.0
    assert whole.max() < 1.0


@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.6}])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("role", ["policy", "reference"])
def test_kept_logprobs_are_those_of_a_training_forward_before_any_filter(
    ending: Roles, role: str, temperature: float, filters: dict[str, Any]
) -> None:
    config = replace(CONFIG, temperature=temperature, **filters)
    items = {prompt.key: prompt.prompt_ids for prompt in prompts()}
    for completion in sampling.generate(ending, prompts(), config, role=role):
        batch = batches.pad([(items[completion.prompt_key], completion.token_ids)], ending.pad_id)
        with ending.role(role), torch.no_grad():
            hidden = ending.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
            expected, _ = logprobs.of_tokens(
                hidden[batch.is_before_response], ending.logits, batch.targets, temperature
            )
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected, rtol=FP32, atol=FP32
        )
        assert completion.logprob_sum == pytest.approx(math.fsum(completion.logprobs))


def test_both_engines_draw_the_same(ending: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = by_key(list(sampling.generate(ending, prompts(), CONFIG, role="policy")))
    assert decoding.can_fuse(ending.causal)
    monkeypatch.setattr(decoding, "can_fuse", lambda _: False)
    general = by_key(list(sampling.generate(ending, prompts(), CONFIG, role="policy")))
    assert {k: c.token_ids for k, c in fused.items()} == {
        k: c.token_ids for k, c in general.items()
    }


def test_completions_end_with_their_first_end_token_or_at_the_limit(ending: Roles) -> None:
    found = list(sampling.generate(ending, prompts(), CONFIG, role="policy"))
    assert {c.finish_reason for c in found} == {"eos", "length"}
    for completion in found:
        if completion.finish_reason == "eos":
            assert completion.token_ids.index(tiny.EOS) == len(completion.token_ids) - 1
        else:
            assert tiny.EOS not in completion.token_ids
            assert len(completion.token_ids) == CONFIG.max_new_tokens
        assert len(completion.logprobs) == len(completion.token_ids)


def test_without_stopping_every_completion_has_all_tokens(ending: Roles) -> None:
    config = replace(CONFIG, stop_at_eos=False)
    found = list(sampling.generate(ending, prompts(), config, role="policy"))
    assert {len(c.token_ids) for c in found} == {CONFIG.max_new_tokens}
    assert {c.finish_reason for c in found} == {"length"}


def test_roles_draw_differently_and_the_active_role_is_untouched(ending: Roles) -> None:
    policy = list(sampling.generate(ending, prompts(), CONFIG, role="policy"))
    reference = sampling.generate(ending, prompts(), CONFIG, role="reference")
    next(reference)
    assert ending.active == "base"
    assert [c.token_ids for c in policy][1:] != [c.token_ids for c in reference]


def test_the_models_own_generation_settings_are_not_read(ending: Roles) -> None:
    before = [c.token_ids for c in sampling.generate(ending, prompts(), CONFIG, role="policy")]
    own = ending.causal.generation_config
    assert own is not None
    own.repetition_penalty, own.top_k, own.temperature = 1.9, 3, 0.1
    after = [c.token_ids for c in sampling.generate(ending, prompts(), CONFIG, role="policy")]
    assert before == after


def test_drawn_tokens_follow_the_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 9, generator=generator)
    chance = torch.rand(20_000, generator=generator, dtype=torch.float64)
    drawn, logprob = sampling.draw(
        logits.expand(20_000, -1), chance, SamplingConfig(temperature=0.5)
    )
    expected = (logits / 0.5).softmax(-1)[0]
    share = torch.bincount(drawn, minlength=9) / 20_000
    # Five standard errors of the widest share.
    assert (share - expected).abs().max() < 5 * 0.5 / 20_000**0.5
    torch.testing.assert_close(logprob, expected.log()[drawn])


def test_tokens_without_probability_are_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    chance = torch.tensor([0.0, 0.5, 1.0 - 2**-53], dtype=torch.float64)
    drawn, _ = sampling.draw(logits.expand(3, -1), chance, SamplingConfig())
    assert drawn.tolist() == [1, 3, 3]


def test_temperature_zero_takes_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 2.9]])
    chance = torch.tensor([0.99, 0.99], dtype=torch.float64)
    drawn, logprob = sampling.draw(logits, chance, SamplingConfig(temperature=0.0))
    assert drawn.tolist() == [1, 0]
    torch.testing.assert_close(logprob, logits.softmax(-1).amax(-1).log())


def test_filters_keep_the_k_likeliest_and_the_fewest_that_reach_p() -> None:
    probabilities = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    torch.testing.assert_close(
        sampling.filtered(probabilities, 2, 1.0), torch.tensor([[0.0, 0.4, 0.0, 0.3]])
    )
    torch.testing.assert_close(
        sampling.filtered(probabilities, 0, 0.65), torch.tensor([[0.0, 0.4, 0.0, 0.3]])
    )
    torch.testing.assert_close(
        sampling.filtered(probabilities, 0, 0.75), torch.tensor([[0.0, 0.4, 0.2, 0.3]])
    )


def test_a_prompt_key_given_twice_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="'p0' occurs twice"):
        next(sampling.generate(roles, [*prompts(1), *prompts(1)], CONFIG))


def test_a_prompt_without_room_for_its_response_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="the context has 256"):
        next(sampling.generate(roles, prompts(1), replace(CONFIG, max_new_tokens=255)))
