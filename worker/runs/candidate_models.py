"""Which models write a round's candidates: the current policy, the SFT model, earlier policies.

Responses of one trained policy resemble each other, so a reward model learns little from comparing
them alone; those of the SFT model differ more (docs/log.md, "Why rounds do not climb").
"""

import hashlib
import math
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import Checkpoint, CheckpointKind, Project, Prompt, Round
from app.services.checkpoints import checkpoints

EARLIER_POLICIES = 2


@dataclass(frozen=True, slots=True)
class CandidateModels:
    """The models of one round.

    Attributes:
        policy: the current policy, which also writes the spares.
        initial: the SFT model or the base, which the policy shares the candidates with; None if the
            policy writes all.
        earlier: each writes one more candidate on some prompts, so that ratings connect.
        plan: of the round.
        round_id: of the round.

    """

    policy: Checkpoint
    initial: Checkpoint | None
    earlier: tuple[Checkpoint, ...]
    plan: RoundPlan
    round_id: int

    @property
    def own_ids(self) -> frozenset[int]:
        """The ids of the models that share the plan's candidates."""
        pair = (self.policy, self.initial)
        return frozenset(model.id for model in pair if model is not None)

    def by_policy(self, prompt: Prompt) -> int:
        """Return how many of a prompt's candidates the policy writes.

        Where the share is no whole number of candidates, the prompts differ, and their mean is it.
        """
        count = self.plan.candidates
        if self.initial is None:
            return count
        return min(count, math.floor(self.plan.policy_share * count + self._draw(prompt, "share")))

    def mixed(self, prompt: Prompt) -> Checkpoint | None:
        """Return the earlier model that is sampled on this prompt too, if any."""
        if not self.earlier or self._draw(prompt, "mix") >= self.plan.mix_share:
            return None
        return self.earlier[int(self._draw(prompt, "model") * len(self.earlier))]

    def _draw(self, prompt: Prompt, purpose: str) -> float:
        """Return a number in [0, 1) that is always the same for a prompt of this round."""
        name = f"{self.round_id}:{purpose}:{prompt.content_hash}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:4], "big") / 2**32


def of_round(
    session: Session, project: Project, round_: Round, policy: Checkpoint, plan: RoundPlan
) -> CandidateModels:
    """Return the models of a round whose current policy is this one."""
    initial = None
    if policy.kind == CheckpointKind.POLICY and plan.policy_share < 1:
        initial = checkpoints.initial_model(session, policy)
    given = {policy.id} if initial is None else {policy.id, initial.id}
    ids = [project.sft_checkpoint_id]
    ids += session.scalars(
        select(Round.policy_checkpoint_id)
        .where(
            Round.project_id == project.id,
            Round.number < round_.number,
            Round.state.in_([RoundState.PROMOTED, RoundState.HELD]),
        )
        .order_by(Round.number.desc())
        .limit(EARLIER_POLICIES)
    )
    distinct = dict.fromkeys(one for one in ids if one is not None and one not in given)
    earlier = tuple(checkpoints.get(session, project.id, one) for one in distinct)
    return CandidateModels(policy, initial, earlier, plan, round_.id)
