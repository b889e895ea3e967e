"""Follow-ups are asked after each sample's own responses; what is shared of prompts is shared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from app.domain import earlier_turns
from app.domain.plan import Sampling
from tests.worker.rlhf import tiny
from tests.worker.rlhf.chat_models import FAMILIES
from worker.rlhf.core.examples import FinishReason, PreferencePair, RankedPrompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import dpo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.sampling.engines import EnginePrompt
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import ServedCompletion
from worker.training import conversations, token_ids
from worker.training.conversations import Question, Turns

THREE = Question("q", ({"role": "user", "content": "one"},), ("two", "three"))
SINGLE = Question("s", ({"role": "user", "content": "only"},))
TWO = Question("t", ({"role": "user", "content": "Why?"},), ("Why not?",))


@dataclass
class Echo:
    """An engine that says which sample of what it completes; prompts are the turns' texts."""

    finish: FinishReason = "eos"
    prefix: str = ""
    asked: list[str] = field(default_factory=list)

    def generate(
        self, prompts: Sequence[EnginePrompt], config: SamplingConfig
    ) -> Iterator[ServedCompletion]:
        for prompt in prompts:
            self.asked.append(prompt.text)
            for index in range(config.n):
                text = f"{self.prefix}{prompt.key}:{index}"
                yield ServedCompletion(prompt.key, index, text, self.finish)


def render(key: str, turns: Turns) -> EnginePrompt:
    return EnginePrompt(key, text=" | ".join(str(turn["content"]) for turn in turns))


def respond(engine: Echo, *questions: Question, **more: Any) -> dict[tuple[str, int], Any]:
    found = conversations.respond(engine, questions, SamplingConfig(n=2), render, **more)
    return {(response.key, response.sample_index): response for response in found}


def test_every_sample_is_asked_after_its_own_responses() -> None:
    engine = Echo()
    responses = respond(engine, THREE, SINGLE)
    assert sorted(responses) == [("q", 0), ("q", 1), ("s", 0), ("s", 1)]
    assert responses["s", 1].earlier == ()
    assert [turn["content"] for turn in responses["q", 1].earlier] == [
        "q:1",
        "two",
        "q/turn-2/1:0",
        "three",
    ]
    assert engine.asked[-1] == "one | q:1 | two | q/turn-2/1:0 | three"
    assert responses["q", 1].completion.text == "q/turn-3/1:0"


def test_a_conversation_with_a_response_that_was_cut_is_not_finished() -> None:
    assert not any(each.is_finished for each in respond(Echo("length"), TWO).values())
    assert all(each.is_finished for each in respond(Echo(), TWO).values())


def test_earlier_responses_are_asked_about_without_their_reasoning() -> None:
    responses = respond(Echo(prefix="Hm.</think>\n\n"), TWO, thought_end="</think>")
    assert responses["t", 0].earlier[0]["content"] == "t:0"
    assert responses["t", 0].completion.text.startswith("Hm.")


def test_a_conversation_without_room_for_the_next_response_is_left_out() -> None:
    def narrow(key: str, turns: Turns) -> EnginePrompt | None:
        return None if key == "t/turn-2/1" else render(key, turns)

    found = conversations.respond(Echo(), [TWO], SamplingConfig(n=2), narrow)
    assert [response.sample_index for response in found] == [0]


def test_start_model_is_asked_the_last_follow_up_after_its_own_responses() -> None:
    roles = Roles(FAMILIES["alternating"].loaded())
    settings = Sampling(max_new_tokens=4)
    first = conversations.asked_by_start_model(roles, [SINGLE, TWO], "", settings, 3)
    assert first == conversations.asked_by_start_model(roles, [SINGLE, TWO], "", settings, 3)
    assert [key for key, _ in first] == ["s", "t"]
    assert first[0][1] == SINGLE.messages
    assert [turn["role"] for turn in first[1][1]] == ["user", "assistant", "user"]
    assert first[1][1][-1]["content"] == "Why not?"


def own(*responses: str) -> list[list[dict[str, str]]]:
    return [earlier_turns.interleaved([each], ["And?"]) for each in responses]


@pytest.mark.parametrize("family", ["alternating", "thinking"])
def test_shared_and_own_ids_together_are_those_of_the_conversation(family: str) -> None:
    loaded = FAMILIES[family].loaded()
    messages: Sequence[Mapping[str, Any]] = TWO.messages
    earlier = own("Because.", "No reason.")
    prompt = conversations.shared_prompt(loaded, messages, "", earlier)
    whole = prompt.whole([(5, 6), (7,)])
    for turns, ids, response in zip(earlier, whole, ((5, 6), (7,)), strict=True):
        expected = (*token_ids.prompt_ids(loaded, [*messages, *turns], ""), *response)
        assert prompt.prompt_ids + ids == expected
    assert len(prompt.prompt_ids) > 1
    assert all(prompt.leads)


def test_completions_without_earlier_turns_have_the_prompt_for_themselves() -> None:
    loaded = tiny.loaded()
    prompt = conversations.shared_prompt(loaded, TWO.messages, "", [(), ()])
    assert prompt.leads == ()
    assert prompt.prompt_ids == token_ids.prompt_ids(loaded, TWO.messages, "")
    assert prompt.whole([(5,)]) == ((5,),)


def test_dpo_learns_the_response_and_not_the_turns_before_it() -> None:
    """Turns that are shared with the prompt, and turns that lead a completion, weigh the same."""
    pairs = (PreferencePair(0, 1, 1.0),)
    led = RankedPrompt("a", (5, 6), ((7, 8, 9), (7, 8, 10, 11)), pairs, leads=(2, 2))
    apart = RankedPrompt("a", (5, 6, 7, 8), ((9,), (10, 11)), pairs)
    assert led.sequences == apart.sequences
    unmarked = RankedPrompt("a", (5, 6), ((7, 8, 9), (7, 8, 10, 11)), pairs)
    assert unmarked.sequences != apart.sequences
    roles, config = Roles(tiny.loaded()), DpoConfig()
    dpo.prepare(roles, config)
    shift(roles)
    with roles.role("policy"):
        first, second, third = (
            dpo.implicit_rewards(roles, [one], config)[0] for one in (led, apart, unmarked)
        )
    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, third)


def shift(roles: Roles) -> None:
    """Move the policy away from its reference, which it equals at first."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in roles.parameters_of("policy"):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_a_completion_that_is_all_lead_is_refused() -> None:
    with pytest.raises(ValueError, match="completion 0 has no token after its 1 first"):
        RankedPrompt("a", (5,), ((6,),), (), leads=(1,))
