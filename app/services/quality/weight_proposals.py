"""Weights for labelers, proposed from agreement and gold; `weights_in_use` applies them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import bulk
from app.domain import labeler_weights
from app.domain.krippendorff import Indices, Numbers, narrowed
from app.domain.labeler_weights import Changes, Choices, ProposedWeight
from app.domain.ranking import Pick, Ranking, Side
from app.domain.votes import VoteTable
from app.models import Comparison, Purpose
from app.services.quality import judgment_reader
from app.services.quality.judgment_columns import (
    PURPOSES,
    JudgmentArrays,
    JudgmentColumns,
    numbered,
)
from app.services.quality.kept_figures import kept

FORMER = "former member"
_PURPOSES = (Purpose.TRAIN, Purpose.GOLD)


@dataclass(frozen=True, slots=True)
class WeightProposal:
    """A weight for each labeler, and what they would change on the comparisons for training."""

    weights: tuple[ProposedWeight, ...]
    changes: Changes

    @property
    def estimated(self) -> dict[str, float]:
        """The weights that can be put to use: those that were estimated, of members."""
        return {
            str(proposed.labeler): proposed.weight
            for proposed in self.weights
            if not proposed.reason and not str(proposed.labeler).startswith(FORMER)
        }


@kept
def of_project(session: Session, project_id: int) -> WeightProposal:
    """Propose weights from the judgments that count, of comparisons for training and of gold."""
    judgments = judgment_reader.read(session, project_id)
    purposes = [PURPOSES.index(purpose) for purpose in _PURPOSES]
    arrays = judgments.arrays
    judgments = judgments.where(arrays.counts & np.isin(arrays.purpose, purposes))
    choices = _choices(session, judgments)
    proposed = tuple(sorted(labeler_weights.propose(choices), key=_by_pseudonym))
    weights = {labeler.labeler: labeler.weight for labeler in proposed}
    return WeightProposal(proposed, labeler_weights.changes(choices, weights))


def _by_pseudonym(proposed: ProposedWeight) -> tuple[int, str]:
    name = str(proposed.labeler)
    return len(name), name


def _choices(session: Session, judgments: JudgmentColumns) -> Choices:
    """Return the choice of each judgment between each two completions; ties are left out."""
    table, arrays = judgments.table(), judgments.arrays
    is_choice = judgments.sign != 0
    units, unit = _renumbered(table.unit[is_choice], len(table.owner))
    people, labeler = _renumbered(table.labeler[is_choice], len(table.labelers))
    return Choices(
        tuple(table.labelers[at] for at in people.tolist()),
        unit=unit,
        labeler=labeler,
        sign=judgments.sign[is_choice],
        shown=judgments.shown_signs()[is_choice],
        owner=_prompts(arrays)[table.owner][units],
        known=_known(session, arrays, table)[units],
    )


def _renumbered(numbers: Numbers, size: int) -> tuple[Indices, Numbers]:
    """Number the numbers that occur from 0; return them, and the new number of each entry."""
    present = np.bincount(numbers, minlength=size) > 0
    return np.flatnonzero(present), narrowed(np.cumsum(present) - 1)[numbers]


def _prompts(arrays: JudgmentArrays) -> Numbers:
    """Return the prompt of each comparison with a preference, in the order of the table."""
    votes = np.flatnonzero(arrays.size > 0)
    first = numbered(arrays.comparison[votes])[1]
    return arrays.prompt[votes[first]]


def _known(session: Session, arrays: JudgmentArrays, table: VoteTable) -> Numbers:
    """Return the sign of gold for each unit, 0 without gold."""
    known = np.zeros(len(table.owner), dtype=np.int8)
    is_gold = arrays.purpose == PURPOSES.index(Purpose.GOLD)
    gold_ids = np.unique(arrays.comparison[is_gold]).tolist()
    rows = session.execute(
        select(Comparison.id, Comparison.gold_answer).where(
            bulk.among(session, Comparison.id, gold_ids)
        )
    )
    rankings = {row.id: ranking for row in rows if (ranking := _gold_ranking(row.gold_answer))}
    if not rankings:
        return known
    starts = np.searchsorted(table.owner, np.arange(len(table.comparisons)))
    for at, name in enumerate(table.comparisons):
        ranking = rankings.get(name)
        if ranking is not None:
            signs = ranking.signs
            known[starts[at] : starts[at] + len(signs)] = signs
    return known


def _gold_ranking(answer: dict[str, Any] | None) -> Ranking | None:
    if not answer:
        return None
    if answer.get("preferred"):
        return Pick(Side(answer["preferred"])).ranking
    return Ranking(tuple(answer["ranking"])) if answer.get("ranking") else None
