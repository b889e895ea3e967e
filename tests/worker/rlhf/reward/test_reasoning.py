"""What scores a response does not see its reasoning; its text and its ids keep it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch

from tests.worker.rlhf import tiny
from tests.worker.rlhf.chat_models import FAMILIES
from worker.rlhf.core.examples import PreferencePair, PromptItem, RankedPrompt
from worker.rlhf.model import template
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import rollout
from worker.rlhf.reward import reasoning, scoring
from worker.rlhf.reward.scoring import AdapterReward, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling.sampling import SamplingConfig

MARK = "</think>"


@pytest.fixture(params=["bytes", "added token", "special token"])
def thinking(request: pytest.FixtureRequest) -> LoadedModel:
    """A model whose mark is eight tokens, one, or one that decoding leaves out."""
    family = FAMILIES["thinking" if request.param != "bytes" else "marked"]
    if request.param == "special token":
        family = replace(family, tokens=(*family.tokens, *family.unmarked), unmarked=())
    return replace(family.loaded(), chat=ChatOptions(thought_end=MARK))


def ids_of(loaded: LoadedModel, text: str) -> tuple[int, ...]:
    ids: list[int] = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    return (*ids, loaded.end_id)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("two and two</think>\n\nFour.", "Four."),
        ("a</think>b</think> c", "c"),
        ("Four.", "Four."),
        ("Four </thin", "Four </thin"),
    ],
)
def test_the_ids_after_the_last_mark_are_left(thinking: LoadedModel, text: str, left: str) -> None:
    ids = ids_of(thinking, text)
    assert reasoning.without(thinking.tokenizer, ids, MARK) == ids_of(thinking, left)
    assert reasoning.without(thinking.tokenizer, ids, "") == ids


def test_of_reasoning_alone_the_end_is_left(thinking: LoadedModel) -> None:
    ids = ids_of(thinking, "two</think>")
    assert reasoning.without(thinking.tokenizer, ids, MARK) == (thinking.end_id,)
    cut_off = ids[:-1]
    assert reasoning.without(thinking.tokenizer, cut_off, MARK) == cut_off[-1:]


def test_the_mark_stays_in_the_text_that_is_stored(thinking: LoadedModel) -> None:
    ids = ids_of(thinking, "one</think>two</think>Four.")[:-1]
    assert template.decode(thinking.tokenizer, ids, MARK) == "one</think>two</think>Four."


def test_a_reward_model_learns_from_what_labelers_saw(thinking: LoadedModel) -> None:
    whole = (ids_of(thinking, "hm</think>Yes."), ids_of(thinking, "No."))
    ranked = RankedPrompt("p", (5, 6), whole, (PreferencePair(0, 1, 1.0),))
    (seen,) = reasoning.rankings(thinking, [ranked])
    assert seen.completions == (ids_of(thinking, "Yes."), ids_of(thinking, "No."))
    assert (seen.pairs, seen.prompt_ids) == (ranked.pairs, ranked.prompt_ids)
    plain = replace(thinking, chat=ChatOptions())
    assert reasoning.rankings(plain, [ranked]) == [ranked]


def test_scores_are_those_of_the_response_alone(thinking: LoadedModel) -> None:
    roles = Roles(thinking)
    roles.add_adapter("reward", tiny.LORA)
    roles.add_head("reward", seed=0)
    plain = AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    reward = reasoning.ignoring(plain, thinking)
    whole = Branches((5, 6), [ids_of(thinking, "hm</think>\nYes."), ids_of(thinking, "No.")])
    alone = Branches((5, 6), [ids_of(thinking, "Yes."), ids_of(thinking, "No.")])
    assert torch.equal(reward.score([whole]).raw, plain.score([alone]).raw)
    assert not torch.equal(plain.score([whole]).raw, plain.score([alone]).raw)
    assert reasoning.ignoring(plain, replace(thinking, chat=ChatOptions())) is plain


@dataclass(slots=True)
class Listening:
    """Remembers what it scored."""

    heard: list[tuple[int, ...]] = field(default_factory=list)

    def score(self, branches: Sequence[Branches]) -> Scores:
        self.heard += [tuple(ids) for branch in branches for ids in branch.completions]
        zeros = torch.zeros(len(self.heard))
        return Scores(zeros, zeros)


def test_a_policy_is_trained_on_all_of_its_tokens_and_scored_on_the_rest() -> None:
    loaded = replace(tiny.loaded(), chat=ChatOptions(thought_end="a"))
    roles = Roles(loaded)
    roles.add_adapter("policy", tiny.LORA)
    head = loaded.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    (mark,) = loaded.tokenizer("a", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        head.weight[mark] *= 4
    prompts = [PromptItem(str(n), ids) for n, ids in enumerate(tiny.token_ids(3, 5, 8, 4))]
    listening = Listening()
    batch = rollout.collect(
        roles,
        prompts,
        reasoning.ignoring(listening, loaded),
        SamplingConfig(max_new_tokens=16),
        rollout.Forward(autocast=False),
        with_values=False,
    )
    whole = [completion.token_ids for completion in batch.episodes.completions]
    assert any(mark in ids for ids in whole)
    assert listening.heard == [reasoning.without(loaded.tokenizer, ids, "a") for ids in whole]
    assert all(mark not in ids[:-1] for ids in listening.heard)
