"""The comparisons of a round that a rule chooses from a pool, by an earlier round's reward model.

Where a rule cannot choose, as in a project's first round, all comparisons are drawn at random, and
the job's result says why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from sqlalchemy.orm import Session

from app.domain import choosing
from app.domain.choosing import ChoicePlan, ChoiceRule, Chosen
from app.domain.plan import RoundPlan
from app.models import Checkpoint, Completion, Prompt, Round
from app.services.rounds import choosers
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.runs.data import checkpoint_weights
from worker.runs.data.scored_completions import CompletionReader
from worker.runs.process.job_context import JobContext

CHUNK = 64  # comparisons scored between two reports
FEW_USABLE = (
    "the pre-flight left {} comparisons in the pool, of which {} are asked; sample a larger pool"
)


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """A comparison that may be asked: of a prompt's completions, with its number on the prompt."""

    prompt: Prompt
    number: int
    completions: tuple[Completion, ...]
    chosen: Chosen | None = None

    @property
    def sources(self) -> list[int | str]:
        """The models that wrote the completions; those of other origin by name."""
        return [row.checkpoint_id or row.source for row in self.completions]


@dataclass(frozen=True, slots=True)
class RoundChooser:
    """What chooses comparisons: the plan, and a reward model, or the reason why none can.

    `pool` are the ids of the prompts whose comparisons are chosen from.
    """

    plan: ChoicePlan
    model: Checkpoint | None = None
    reason: str = ""
    pool: frozenset[int] = frozenset()

    @classmethod
    def of(cls, session: Session, round_: Round, plan: ChoicePlan) -> "RoundChooser":
        """Return what chooses a round's comparisons."""
        found = choosers.find(session, round_.project_id, plan, before=round_.number)
        return cls(plan, found.model, found.reason)

    def sampled(self, prompts: int) -> int:
        """Return for how many prompts candidates are sampled if so many are asked about."""
        return prompts if self.model is None else self.plan.sampled(prompts)

    def over(self, prompts: Sequence[Prompt], wanted: int) -> "RoundChooser":
        """Return the chooser for the prompts of a round; those first in order are not chosen."""
        if self.model is None:
            return self
        if len(prompts) <= wanted:
            return RoundChooser(self.plan, reason=choosers.FEW_PROMPTS.format(wanted))
        pool = prompts[wanted - self.plan.count(wanted) :]
        return replace(self, pool=frozenset(prompt.id for prompt in pool))


@dataclass(frozen=True, slots=True)
class ComparisonChoice:
    """What a round asks about, and why nothing was chosen, if a rule was to choose."""

    questions: list[CandidateComparison]
    reason: str = ""

    def result(self, plan: ChoicePlan, remarks: Iterable[str]) -> dict[str, Any]:
        """Return what the job's result says of it, with the remarks there are already."""
        if plan.rule is ChoiceRule.RANDOM:
            return {}
        chosen = sum(asked.chosen is not None for asked in self.questions)
        own = [f"All comparisons were drawn at random: {self.reason}"] if self.reason else []
        return {"chosen": chosen, "remarks": [*remarks, *own]}


def choose(
    context: JobContext,
    chooser: RoundChooser,
    questions: Sequence[CandidateComparison],
    plan: RoundPlan,
    instruction: str,
) -> ComparisonChoice:
    """Return the comparisons to ask about: the random part, and the worthiest of the pool."""
    at_random = [asked for asked in questions if asked.prompt.id not in chooser.pool]
    model = chooser.model
    if model is None:
        return ComparisonChoice(at_random, chooser.reason)
    pool = [asked for asked in questions if asked.prompt.id in chooser.pool]
    count = chooser.plan.count(plan.prompts) * plan.comparisons_per_prompt
    if len(pool) <= count:
        return ComparisonChoice([*at_random, *pool], FEW_USABLE.format(len(pool), count))
    rule, scores = chooser.plan.rule, _scores(context, model, pool, plan, instruction)
    worths = [
        choosing.worth(rule, own, asked.sources) for asked, own in zip(pool, scores, strict=True)
    ]
    best = [
        replace(pool[at], chosen=Chosen(rule, worths[at], place, len(pool), model.name))
        for place, at in enumerate(choosing.order(worths)[:count], start=1)
    ]
    return ComparisonChoice([*at_random, *best])


def _scores(
    context: JobContext,
    model: Checkpoint,
    pool: Sequence[CandidateComparison],
    plan: RoundPlan,
    instruction: str,
) -> list[list[list[float]]]:
    """Return every reward model's scores of each comparison's completions, [M, K]."""
    with context.database.reader() as session:
        beneath = checkpoint_weights.layers(session, model)
        roots = checkpoint_weights.root_ids(session, model.project_id)
    roles = checkpoint_weights.load(context, beneath, four_bit=plan.four_bit, chat=plan.chat)
    names, _ = checkpoint_weights.add_reward(context, roles, model)
    reward = AdapterReward(roles, names, scoring.probe(roles))
    reader = CompletionReader(roles, instruction, roots, roots[model.id])
    found: list[list[list[float]]] = []
    for at in range(0, len(pool), CHUNK):
        some = pool[at : at + CHUNK]
        branches: list[Branches] = []
        for asked in some:
            branches += reader.branches(asked.prompt, asked.completions)
        raw = torch.split(reward.raw(branches), [len(asked.completions) for asked in some], dim=1)
        found += [own.tolist() for own in raw]
        context.report(len(found), len(pool), f"comparisons scored by {model.name}")
    return found
