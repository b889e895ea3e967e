"""What the trainings from files have in common: what was asked, rows parted, the model at the end.

Each algorithm is a module of its own beside this one with a function `run`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.plan import RoundPlan
from worker.files import models, rows
from worker.files.folder import Card, RunFolder
from worker.files.rows import Bad
from worker.files.source import Source
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import encode_response
from worker.runs import following, texts
from worker.runs.cards import TRAINING
from worker.runs.following import Ended

Read = Callable[[Source], tuple[list[Any], list[Bad]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run was asked to do.

    The plan is a round's, of which a run reads its own part, so that settings mean and default to
    what they do in a job. `heldout_percent` of the prompts only measure where there is no file of
    held-out rows.
    """

    kind: str
    model: str
    data: Source
    plan: RoundPlan
    heldout: Source | None = None
    heldout_percent: int = 0
    instruction: str = ""
    reward: str = ""  # of a policy
    device: str = "cpu"
    save_every: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same for a run to go on."""
        return {
            "kind": self.kind,
            "model": models.fingerprint(self.model),
            "data": _told(self.data),
            "heldout": None if self.heldout is None else _told(self.heldout),
            "heldout_percent": self.heldout_percent,
            "instruction": self.instruction,
            "reward": models.fingerprint(self.reward) if self.reward else "",
            "plan": self.plan.to_json(),
        }

    def roles(self) -> Roles:
        """Load the model that the run starts from, as the plan says."""
        return models.open_model(self.model, self.device, four_bit=self.plan.four_bit).roles

    def read(self, reader: Read) -> "Parted":
        """Read the data and part them, or read the file of held-out rows."""
        found, bad = reader(self.data)
        if self.heldout is None:
            train, heldout = rows.held_out(found, self.heldout_percent)
            return Parted(train or found, heldout if train else [], len(bad))
        heldout, more = reader(self.heldout)
        return Parted(found, heldout, len(bad) + len(more))

    def card(self, title: str, settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> Card:
        """Return the card of the model that the run made."""
        parents = {"model": models.fingerprint(self.model)}
        if self.reward:
            parents["reward"] = models.fingerprint(self.reward)
        files = [_told(one) for one in (self.data, self.heldout) if one is not None]
        return Card(title, {**settings, "instruction": self.instruction}, metrics, parents, files)


@dataclass(frozen=True, slots=True)
class Parted:
    """Rows to train on, rows that only measure, and how many were bad."""

    train: list[Any]
    heldout: list[Any]
    bad: int

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each."""
        return {"rows": len(self.train), "heldout_rows": len(self.heldout), "bad_rows": self.bad}


@dataclass(frozen=True, slots=True)
class Done:
    """Where the model is, and how the run ended."""

    model: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)
    was_there: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"model": str(self.model), "was_there": self.was_there, "metrics": self.metrics}


def run(wanted: Wanted, folder: RunFolder, train: Callable[[Wanted, RunFolder], None]) -> Done:
    """Train, or say that it was done before."""
    was_there = folder.is_done
    if not was_there:
        train(wanted, folder)
    card = json.loads((folder.model / TRAINING).read_text(encoding="utf-8"))
    return Done(folder.model, card["metrics"], was_there)


def begin(folder: RunFolder) -> TrainingState:
    """Return the state to train in: where an earlier run left it, else fresh."""
    state = TrainingState()
    if following.restore(folder, state):
        folder.watcher.say(f"Going on after step {state.step}.")
    return state


def rankings(
    compared: Sequence[rows.Compared], roles: Roles, instruction: str
) -> list[RankedPrompt]:
    """Return comparisons in the ids of a model's tokenizer."""
    tokenizer = roles.loaded.tokenizer
    return [
        RankedPrompt(
            key=f"line-{one.line}-{number}",
            prompt_ids=texts.prompt_ids(tokenizer, one.messages, instruction),
            completions=tuple(
                tuple(encode_response(tokenizer, text, finished=True)) for text in one.texts
            ),
            pairs=one.pairs,
            absolutes=one.absolutes,
            sources=one.sources,
        )
        for number, one in enumerate(compared)
    ]


def items(
    asked: Sequence[rows.Asked], roles: Roles, instruction: str, new_tokens: int
) -> list[PromptItem]:
    """Return the different prompts that leave room for an answer."""
    tokenizer = roles.loaded.tokenizer
    different = {one.key: one for one in asked}
    return texts.that_fit(
        [
            PromptItem(one.key, texts.prompt_ids(tokenizer, one.messages, instruction))
            for one in different.values()
        ],
        roles,
        new_tokens,
    )


def figures(ended: Ended, parted: Parted) -> dict[str, Any]:
    """Return what every run's card says of it."""
    return {**ended.metrics, **parted.counts, "steps": ended.step, "stop_reason": ended.reason}


def _told(source: Source) -> dict[str, Any]:
    return {"file": source.path.name, "sha256": source.sha256}
