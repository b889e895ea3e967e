"""Responses without their reasoning, for everything that scores them.

A reasoning model writes what it thinks, a mark, and then its response. Labelers judge what follows
the mark, so reward models learn and score only that: the ids after the last mark, appended to the
prompt. The policy is sampled, penalized by KL and updated on all of its tokens; the score applies
to the whole, at its last token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches


def without(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], thought_end: str
) -> tuple[int, ...]:
    """Return the ids after the last mark and the white space that follows it.

    A response without the mark is returned whole; of one that ends with it, the last token is left.
    """
    marks = _marks(tokenizer, ids, thought_end) if thought_end else 0
    if marks == 0:
        return tuple(ids)
    # The fewest tokens that spell all marks: marks may share tokens with the text around them.
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        if _marks(tokenizer, ids[:middle], thought_end) == marks:
            high = middle
        else:
            low = middle + 1
    start = low
    while start < len(ids) and not _text(tokenizer, ids[start : start + 1]).strip():
        start += 1
    return tuple(ids[start:]) or tuple(ids[-1:])


def rankings(loaded: LoadedModel, ranked: Iterable[RankedPrompt]) -> list[RankedPrompt]:
    """Return ranked prompts whose completions have no reasoning."""
    mark = loaded.chat.thought_end
    if not mark:
        return list(ranked)
    return [
        replace(
            one,
            completions=tuple(
                prompt[len(one.prompt_ids) :] + without(loaded.tokenizer, ids, mark)
                for prompt, ids in one.sequences
            ),
        )
        for one in ranked
    ]


def branches(loaded: LoadedModel, scored: Sequence[Branches]) -> list[Branches]:
    """Return completions to score without their reasoning."""
    mark = loaded.chat.thought_end
    if not mark:
        return list(scored)
    return [
        Branches(
            branch.prompt_ids, [without(loaded.tokenizer, ids, mark) for ids in branch.completions]
        )
        for branch in scored
    ]


@dataclass(frozen=True, slots=True)
class ResponseReward:
    """A reward of what follows the reasoning of a response."""

    reward: RewardFunction
    loaded: LoadedModel

    def score(self, scored: Sequence[Branches]) -> Scores:
        """Return the scores of the completions without their reasoning."""
        return self.reward.score(branches(self.loaded, scored))


def ignoring(reward: RewardFunction, loaded: LoadedModel) -> RewardFunction:
    """Return the reward of responses without reasoning, if the model's has an end."""
    return ResponseReward(reward, loaded) if loaded.chat.thought_end else reward


def _marks(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], thought_end: str) -> int:
    return _text(tokenizer, ids).count(thought_end)


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))
