from dataclasses import replace

import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import continuous_batching, engines
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig

FP32 = 1e-4
CONFIG = SamplingConfig(n=3, max_new_tokens=24, seed=5, batch_size=6)


def prompts(count: int = 7) -> list[EnginePrompt]:
    lengths = [3 + (5 * index) % 11 for index in range(count)]
    return [EnginePrompt(f"p{n}", ids) for n, ids in enumerate(tiny.token_ids(*lengths, seed=3))]


def by_key(completions: list[SampledCompletion]) -> dict[tuple[str, int], SampledCompletion]:
    return {(c.prompt_key, c.sample_index): c for c in completions}


def drawn(
    name: engines.EngineName, roles: Roles, config: SamplingConfig
) -> dict[tuple[str, int], SampledCompletion]:
    engine = engines.in_memory(name, roles, "policy")
    return by_key(list(engine.generate(prompts(), config)))


@pytest.fixture
def ending(roles: Roles) -> Roles:
    """Roles whose models often end early, so that rows leave and others join."""
    head = roles.causal.get_output_embeddings()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight[tiny.EOS] *= 2.5
    return roles


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, temperature=0.7, top_p=0.8, top_k=20),
        replace(CONFIG, temperature=0.0, n=1),
    ],
    ids=["plain", "filtered", "greedy"],
)
def test_continuous_batching_draws_what_the_static_engine_draws(
    ending: Roles, config: SamplingConfig
) -> None:
    static, moving = drawn("static", ending, config), drawn("continuous", ending, config)
    assert static.keys() == moving.keys()
    for key, expected in static.items():
        found = moving[key]
        assert found.token_ids == expected.token_ids
        assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
        torch.testing.assert_close(
            torch.tensor(found.logprobs), torch.tensor(expected.logprobs), rtol=FP32, atol=FP32
        )
    assert {each.finish_reason for each in moving.values()} == {"eos", "length"}


def test_continuous_batching_leaves_the_model_as_it_was(ending: Roles) -> None:
    attention, active = ending.causal.config._attn_implementation, ending.active
    before = drawn("static", ending, CONFIG)
    drawn("continuous", ending, CONFIG)
    assert (ending.causal.config._attn_implementation, ending.active) == (attention, active)
    assert drawn("static", ending, CONFIG) == before


def test_completions_come_in_the_order_of_the_prompts(ending: Roles) -> None:
    engine = engines.in_memory("continuous", ending, "policy")
    found = [(each.prompt_key, each.sample_index) for each in engine.generate(prompts(3), CONFIG)]
    assert found == [(f"p{n}", index) for n in range(3) for index in range(3)]
    assert not list(engine.generate([], CONFIG))


def test_an_old_library_is_refused_by_name(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous_batching, "ContinuousBatchingConfig", None)
    with pytest.raises(ValueError, match=r"needs transformers 5\.17"):
        drawn("continuous", roles, CONFIG)


def test_running_past_the_end_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="always stops at the EOS token"):
        drawn("continuous", roles, replace(CONFIG, stop_at_eos=False))


def test_an_unknown_engine_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="'static' or 'continuous', got 'magic'"):
        engines.in_memory("magic", roles)  # type: ignore[arg-type]
