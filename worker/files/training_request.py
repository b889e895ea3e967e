"""What trainings from files share: the request, the split of the rows, and the outcome.

Each algorithm is a module beside this one with a function `run`.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.domain.plan import RoundPlan
from app.domain.splits import Split
from app.errors import Invalid
from worker.files import models, rows
from worker.files.rows import BadLine
from worker.files.run_folder import RunFolder
from worker.files.source import Source
from worker.rlhf.core.examples import PromptItem, RankedPrompt
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import encode_response
from worker.training import conversations, dividing, screening, token_ids
from worker.training.model_card import ModelCard
from worker.training.model_folders import TRAINING
from worker.training.screening import Refusals

USUAL_PERCENT: Final = 10
Read = Callable[[Source], tuple[list[Any], list[BadLine]]]


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The settings of a run.

    The plan is a round's plan, of which a run reads its own part, so that settings have the same
    meaning and defaults as in a job. Without a file of held-out rows, `heldout_percent` of the
    prompts are held out; None holds out the rows that the file states as validation, or else
    `USUAL_PERCENT`.
    """

    kind: str
    model: str
    data: Source
    plan: RoundPlan
    heldout: Source | None = None
    heldout_percent: int | None = 0
    instruction: str = ""
    reward: str = ""  # of a policy
    device: str = "cpu"
    save_every: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to be resumed."""
        return {
            "kind": self.kind,
            "model": models.fingerprint(self.model),
            "data": _described(self.data),
            "heldout": None if self.heldout is None else _described(self.heldout),
            "heldout_percent": self.heldout_percent,
            "instruction": self.instruction,
            "reward": models.fingerprint(self.reward) if self.reward else "",
            "plan": self.plan.to_json(),
        }

    def device_of(self, folder: RunFolder) -> str:
        """Return the torch device of this process."""
        team = folder.team
        return self.device if team is None else str(team.device or self.device)

    def roles(self, folder: RunFolder) -> Roles:
        """Load the model that the run starts from, as the plan says."""
        dividing.settle(folder, folder.team, self.plan.parallel)
        opened = models.open_model(
            self.model,
            self.device_of(folder),
            four_bit=self.plan.four_bit,
            in_full=self.plan.sft is not None and bool(self.plan.sft.is_full),
            team=folder.team,
            chat=self.chat,
        )
        return opened.roles

    @property
    def chat(self) -> ChatOptions:
        """How conversations are rendered."""
        return screening.options_of(self.plan.chat)

    def fitting(self, split: "RowSplit", roles: Roles, folder: RunFolder) -> "RowSplit":
        """Return the rows without those whose prompt the model's chat template refuses.

        Raises:
            Invalid: bad lines are not skipped, and there is one; or no row is left to train on.
        """
        train, train_refusals = self._fitting(split.train, roles, self.data)
        heldout, heldout_refusals = self._fitting(
            split.heldout, roles, self.heldout or self.data, is_needed=False
        )
        for remark in (*train_refusals.remarks, *heldout_refusals.remarks):
            folder.say(f"{remark}.")
        refused = len(train_refusals.reasons) + len(heldout_refusals.reasons)
        return RowSplit(train, heldout, split.bad + refused)

    def _fitting(
        self, judged: Sequence[Any], roles: Roles, file: Source, *, is_needed: bool = True
    ) -> tuple[list[Any], Refusals]:
        screened = screening.screen(
            roles.loaded,
            judged,
            self.instruction,
            f"rows of {file.path.name}",
            lambda row: (f"line {row.line}", _asked(row)),
            is_needed=is_needed and file.skip_bad,
        )
        if screened.refusals.reasons and not file.skip_bad:
            line, reason = next(iter(screened.refusals.reasons.items()))
            raise Invalid(
                f"{file.path}, {line}: the model's chat template refuses the prompt ({reason}); "
                f"--skip-bad leaves out the {len(screened.refusals.reasons)} rows like it"
            )
        return screened.kept, screened.refusals

    def rankings(self, judged: Sequence[rows.JudgedRow], roles: Roles) -> list[RankedPrompt]:
        """Return comparisons as token ids of a model."""
        return [
            self._ranked(f"line-{row.line}-{number}", row, roles)
            for number, row in enumerate(judged)
        ]

    def _ranked(self, key: str, row: rows.JudgedRow, roles: Roles) -> RankedPrompt:
        prompt = conversations.shared_prompt(
            roles.loaded, row.messages, self.instruction, row.earlier
        )
        responses = [
            tuple(encode_response(roles.loaded, text, finished=True)) for text in row.texts
        ]
        return RankedPrompt(
            key=key,
            prompt_ids=prompt.prompt_ids,
            completions=prompt.whole(responses),
            pairs=row.pairs,
            absolutes=row.absolutes,
            sources=row.sources,
            leads=tuple(map(len, prompt.leads)),
        )

    def asked(self, prompts: Sequence[rows.FilePrompt], roles: Roles) -> list[rows.FilePrompt]:
        """Return the distinct prompts, those with follow-ups up to the last one."""
        distinct = {prompt.key: prompt for prompt in prompts}
        asked = conversations.asked_by_start_model(
            roles,
            [prompt.question for prompt in distinct.values()],
            self.instruction,
            self.plan.sampling,
            self.plan.seed,
        )
        return [replace(distinct[key], messages=turns, follow_up=()) for key, turns in asked]

    def prompt_items(self, prompts: Sequence[rows.FilePrompt], roles: Roles) -> list[PromptItem]:
        """Return the distinct prompts as token ids of a model."""
        distinct = {prompt.key: prompt for prompt in prompts}
        return [
            PromptItem(
                prompt.key,
                token_ids.prompt_ids(roles.loaded, prompt.messages, self.instruction),
                token_ids.readable(prompt.messages),
            )
            for prompt in distinct.values()
        ]

    def read(self, reader: Read, folder: RunFolder) -> "RowSplit":
        """Read the data and split it, or read the file of held-out rows; say what is held out."""
        usable, bad = reader(self.data)
        if self.heldout is not None:
            heldout, heldout_bad = reader(self.heldout)
            return RowSplit(usable, heldout, len(bad) + len(heldout_bad))
        split, sentence = _split(usable, self.heldout_percent, len(bad))
        folder.say(sentence)
        return split

    def card(self, kind: str, settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> ModelCard:
        """Return the card of the model that the run trained."""
        parents = {"model": models.fingerprint(self.model)}
        if self.reward:
            parents["reward"] = models.fingerprint(self.reward)
        files = [_described(file) for file in (self.data, self.heldout) if file is not None]
        names = ", ".join(str(file["file"]) for file in files)
        return ModelCard(
            kind,
            kind,
            {**settings, "instruction": self.instruction},
            metrics,
            parents,
            files,
            facts=[f"Data: {names}", f"Instruction: {self.instruction or 'none'}"],
        )


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Rows to train on, held-out rows, and the number of bad rows."""

    train: list[Any]
    heldout: list[Any]
    bad: int

    @property
    def counts(self) -> dict[str, int]:
        """The number of each."""
        return {"rows": len(self.train), "heldout_rows": len(self.heldout), "bad_rows": self.bad}


def _split(usable: list[Any], percent: int | None, bad: int) -> tuple[RowSplit, str]:
    """Split the rows of a file, and return a sentence on how."""
    stated = Counter(str(split) for row in usable if (split := getattr(row, "split", None)))
    if percent is None and stated[Split.VALIDATION] and len(stated) > 1:
        parts = {name: [row for row in usable if row.split == name] for name in Split}
        train = [row for row in usable if row.split in (Split.TRAIN, None)]
        if train:
            left_out = len(usable) - len(train) - len(parts[Split.VALIDATION])
            split = RowSplit(train, parts[Split.VALIDATION], bad)
            return split, (
                f"{len(split.heldout)} of {len(usable)} rows are held out: those that the file "
                f"states as validation; {left_out} that it states as another split are left out."
            )
    share = USUAL_PERCENT if percent is None else percent
    train, heldout = rows.held_out(usable, share)
    prompts = len({row.key for row in usable})
    chosen = len({row.key for row in heldout})
    sentence = f"{len(heldout)} of {len(usable)} rows are held out"
    sentence += f" ({chosen} of {prompts} prompts, {share} percent by content)"
    if share and not heldout:
        sentence += ": a file with one prompt has none to spare"
    if percent is not None and stated:
        splits = ", ".join(f"{name} {count}" for name, count in sorted(stated.items()))
        sentence += f"; --heldout-share overrides the splits of the file ({splits})"
    return RowSplit(train, heldout, bad), f"{sentence}."


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Where the model is, and how the run ended."""

    model: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)
    was_there: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {"model": str(self.model), "was_there": self.was_there, "metrics": self.metrics}


def run(
    request: TrainingRequest,
    folder: RunFolder,
    train: Callable[[TrainingRequest, RunFolder], None],
) -> TrainingOutcome | None:
    """Train, or return an earlier run's outcome; None in a process that is not the first."""
    was_there = folder.is_done
    if not was_there:
        train(request, folder)
    if not folder.is_first:
        return None
    card = json.loads((folder.model / TRAINING).read_text(encoding="utf-8"))
    return TrainingOutcome(folder.model, card["metrics"], was_there)


def _asked(row: Any) -> rows.Turns:
    """Return a conversation of a row that the model is asked to continue."""
    if isinstance(row, rows.FilePrompt):
        return row.question.skeleton
    earlier = getattr(row, "earlier", ())
    return [*row.messages, *earlier[0]] if earlier else row.messages


def _described(source: Source) -> dict[str, Any]:
    return {"file": source.path.name, "sha256": source.sha256}
