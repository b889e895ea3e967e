"""Stored completions as what a reward model of rounds reads: token ids after their prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.formats.training_rows import JudgedCompletion
from app.models import Completion, Prompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reasoning
from worker.rlhf.reward.shared_prefix import Branches
from worker.training import token_ids


@dataclass(frozen=True, slots=True)
class CompletionReader:
    """Reads completions for a model; `roots` are checkpoints' full models, `root` is its own."""

    roles: Roles
    instruction: str
    roots: Mapping[int, int]
    root: int

    def branches(self, prompt: Prompt, rows: Sequence[Completion]) -> list[Branches]:
        """Return completions of a prompt: together, or each after its own earlier turns."""
        loaded = self.roles.loaded
        ids = [self._ids(row) for row in rows]
        if not any(row.earlier for row in rows):
            before = token_ids.prompt_ids(loaded, prompt.messages, self.instruction)
            return [Branches(before, ids)]
        return [
            Branches(token_ids.prompt_ids(loaded, turns(prompt, row), self.instruction), [own])
            for row, own in zip(rows, ids, strict=True)
        ]

    def _ids(self, row: Completion) -> tuple[int, ...]:
        """Return a completion's ids without its reasoning."""
        loaded = self.roles.loaded
        is_ours = self.roots.get(row.checkpoint_id or 0) == self.root
        ids = token_ids.completion_ids(loaded, _candidate(row), is_ours=is_ours)
        return tuple(reasoning.without(loaded.tokenizer, ids, loaded.chat.thought_end))


def turns(prompt: Prompt, row: Completion) -> list[dict[str, Any]]:
    """Return the conversation that a completion responds to."""
    return [*prompt.messages, *row.earlier]


def _candidate(row: Completion) -> JudgedCompletion:
    ids = None if row.token_ids is None else tuple(row.token_ids)
    return JudgedCompletion(row.id, row.text, ids, row.is_finished, row.source, row.checkpoint_id)
