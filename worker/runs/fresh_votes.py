"""Asks the labelers of a project about its policy while that trains, for the job of a round.

Each question and each reading of the votes is a short transaction. If the database cannot be
reached, the run goes on with the votes it has read, and the log says what was not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.domain import chat_settings
from app.domain.plan import RoundPlan
from app.models import Prompt, Round
from app.services.rounds import fresh_votes
from app.services.rounds.fresh_votes import FreshOrigin, FreshQuestion, FreshResponse
from worker.outages import is_outage
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.policy.fresh_votes import FreshPair, latest
from worker.rlhf.policy.stopping import FreshVote, Observation
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext
from worker.training.conversations import Turns

VotesByStep = Mapping[int, Sequence[FreshVote]]


@dataclass(slots=True)
class LabelerVotes:
    """The labelers of a round's project, as those who are asked.

    Attributes:
        context: of the job.
        round: that the policy is of.
        plan: of the round.
        heldout: the prompts by key.
        asked: what the policy is asked, by prompt.
        reference: the name of the reference.
        instruction_version: that the responses were sampled under.
        thought_end: the mark that ends reasoning, which is not shown.
    """

    context: JobContext
    round: Round
    plan: RoundPlan
    heldout: Mapping[str, Prompt]
    asked: Mapping[int, Turns]
    reference: str
    instruction_version: int
    thought_end: str
    known: VotesByStep = field(default_factory=dict)

    @property
    def prompts(self) -> int:
        """How many held-out prompts to ask about at each evaluation."""
        return self.plan.policy.fresh_votes

    def ask(self, step: int, pairs: Sequence[FreshPair]) -> int:
        """Queue those pairs of a step that look different, unless they were before."""
        questions = [self._question(pair) for pair in pairs if self._differs(pair)]
        self.context.once(lambda: self._write(step, questions))
        return len(questions)

    def read(self) -> VotesByStep:
        """Return the votes so far by step; those read before if the database is unreachable."""
        self.known = self.context.once(self._read)
        return self.known

    def summary(self) -> str:
        """Return a sentence on the votes and their last pooled share, for the model's card."""
        history = [
            Observation(step, 0.0, 0.0, 0.0, 0.0, fresh=votes)
            for step, votes in sorted(self.read().items())
        ]
        share = latest(history)
        if share is None:
            return "Fresh votes while it trained: none."
        count = sum(len(votes) for votes in self.known.values())
        return (
            f"Fresh votes while it trained: {count}. Of the last {share.votes}, {share.share:.0%} "
            f"[{share.low:.0%}, {share.high:.0%}] prefer the policy to {self.reference}."
        )

    def _differs(self, pair: FreshPair) -> bool:
        policy, reference = (
            chat_settings.without_reasoning(one.text, self.thought_end).strip()
            for one in (pair.policy, pair.reference)
        )
        return policy != reference

    def _question(self, pair: FreshPair) -> FreshQuestion:
        prompt = self.heldout[pair.prompt.key]
        earlier = self.asked[prompt.id][len(prompt.messages) :]
        return FreshQuestion(prompt.id, earlier, _response(pair.policy), _response(pair.reference))

    def _write(self, step: int, questions: Sequence[FreshQuestion]) -> None:
        sampling: dict[str, Any] = {
            **asdict(replace(self.plan.sampling, top_p=1.0, top_k=0)),
            "step": step,
        }
        origin = FreshOrigin(
            self.context.job_id, step, self.reference, sampling, self.instruction_version
        )
        try:
            with transactions.transaction(self.context) as session:
                fresh_votes.ask(session, session.get_one(Round, self.round.id), origin, questions)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            self.context.say(
                f"People are not asked about step {step}: the database is unreachable."
            )

    def _read(self) -> VotesByStep:
        try:
            with self.context.database.reader() as session:
                votes = fresh_votes.votes(session, self.context.job_id)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            self.context.say("Fresh votes were not read: the database is unreachable.")
            return self.known
        by_step: dict[int, list[FreshVote]] = {}
        for one in votes:
            by_step.setdefault(one.step, []).append((f"prompt-{one.prompt_id}", one.vote))
        return by_step


def _response(completion: SampledCompletion) -> FreshResponse:
    return FreshResponse(
        completion.text,
        completion.token_ids,
        completion.finish_reason == "eos",
        completion.logprob_sum,
    )
