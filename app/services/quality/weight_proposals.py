"""Weights for labelers, proposed from agreement and gold; `weights_in_use` applies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import labeler_weights
from app.domain.labeler_weights import Changes, Choices, ProposedWeight
from app.domain.ranking import Pick, Ranking, Side
from app.models import Comparison, Judgment, Membership, Purpose
from app.services.datasets.preferences import ranking_of
from app.services.project import criteria
from app.services.quality.kept_figures import kept
from app.services.queue import counted_judgments

FORMER = "former member"
_PURPOSES = (Purpose.TRAIN, Purpose.GOLD)

Entry = tuple[int, int, int, int]
"""Unit, labeler, sign of the choice, and whether the first completion was also shown first."""


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
    choices = _choices(_rows(session, project_id), criteria.weights(session, project_id))
    proposed = tuple(sorted(labeler_weights.propose(choices), key=_by_pseudonym))
    weights = {labeler.labeler: labeler.weight for labeler in proposed}
    return WeightProposal(proposed, labeler_weights.changes(choices, weights))


def _by_pseudonym(proposed: ProposedWeight) -> tuple[int, str]:
    name = str(proposed.labeler)
    return len(name), name


def _rows(session: Session, project_id: int) -> Sequence[Any]:
    member = (Membership.user_id == Judgment.labeler_id) & (Membership.project_id == project_id)
    query = (
        select(
            *(Judgment.comparison_id, Judgment.labeler_id, Judgment.preferred, Judgment.ranking),
            *(Judgment.ratings, Judgment.shown_order, Membership.pseudonym),
            *(Comparison.prompt_id, Comparison.gold_answer),
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Membership, member, isouter=True)
        .where(
            Judgment.project_id == project_id,
            counted_judgments.counts(),
            Comparison.purpose.in_(_PURPOSES),
        )
        .order_by(Judgment.id)
    )
    return session.execute(query).all()


def _choices(rows: Sequence[Any], weights: dict[str, float]) -> Choices:
    """Return the choice of each judgment between each two completions; ties are left out."""
    labelers: dict[str, int] = {}
    units: dict[tuple[int, int, int], int] = {}
    owners: list[int] = []
    known: list[int] = []
    entries: list[Entry] = []
    for row in rows:
        ranking = ranking_of(row, weights)
        if ranking is None:
            continue
        name = row.pseudonym or f"{FORMER} {row.labeler_id}"
        gold = _gold_ranking(row.gold_answer)
        for first, second in combinations(range(len(ranking.ranks)), 2):
            sign = _sign(ranking, first, second)
            if not sign:
                continue
            labeler = labelers.setdefault(name, len(labelers))
            key = (row.comparison_id, first, second)
            if key not in units:
                units[key] = len(units)
                owners.append(row.prompt_id)  # the comparisons of a prompt are not independent
                known.append(0 if gold is None else _sign(gold, first, second))
            entries.append((units[key], labeler, sign, _shown(row.shown_order, first, second)))
    columns = np.array(entries, dtype=np.int64).reshape(-1, 4).T
    return Choices(
        tuple(labelers),
        unit=columns[0],
        labeler=columns[1],
        sign=columns[2],
        shown=columns[3],
        owner=np.array(owners, dtype=np.int64),
        known=np.array(known, dtype=np.int64),
    )


def _gold_ranking(answer: dict[str, Any] | None) -> Ranking | None:
    if not answer:
        return None
    if answer.get("preferred"):
        return Pick(Side(answer["preferred"])).ranking
    return Ranking(tuple(answer["ranking"])) if answer.get("ranking") else None


def _sign(ranking: Ranking, first: int, second: int) -> int:
    a, b = ranking.ranks[first], ranking.ranks[second]
    return (b > a) - (b < a)


def _shown(order: Sequence[int], first: int, second: int) -> int:
    """Return 1 if the first was shown before the second, -1 if after, 0 where unknown."""
    if first not in order or second not in order:
        return 0
    return 1 if order.index(first) < order.index(second) else -1
