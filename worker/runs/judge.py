"""Asks an AI judge about comparisons, several at a time, and records each verdict as it comes.

An attempt that resumes goes on with what has not been judged. The key of the server is read from
the environment of this process, and is written nowhere.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judges import askings, prompts, servers
from app.domain.judges.setup import JudgeLimits, JudgeSetup
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import LIVE_ROUND_STATES
from app.errors import Invalid, Unavailable
from app.models import (
    AiOutcome,
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Judge,
    Project,
    Prompt,
    Round,
)
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import AskedComparison
from app.services.judging.judges import JudgeRubric
from app.services.rounds import evaluations
from app.services.rounds.judge_jobs import JudgeTask
from worker.judging import judge as asking
from worker.judging import server_access
from worker.judging.chat_server import ChatConfig, ChatRefused, ChatServer, ChatUnavailable
from worker.judging.judge import AskedOrder, JudgeAnswer
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext

CHUNK: Final = 200  # comparisons read at once
REFUSED_MOST: Final = (
    10  # that many refused one after the other: the request is wrong, not the text
)
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class JudgeWork:
    """The judge, what it goes by, its task, and the comparisons that it has not judged."""

    judge: Judge
    setup: JudgeSetup
    limits: JudgeLimits
    rubric: JudgeRubric
    task: JudgeTask
    comparison_ids: tuple[int, ...]
    total: int
    spent: float  # what its judgments have cost before


@dataclass(frozen=True, slots=True)
class ShownComparison:
    """A comparison as a judge is shown it, responses in canonical order."""

    id: int
    kind: JudgmentKind
    turns: Sequence[Mapping[str, Any]]
    responses: tuple[str, ...]


@dataclass(slots=True)
class JudgeTally:
    """What has become of the comparisons of this attempt."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AiOutcome, 0))
    inconsistent: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    without_tokens: int = 0
    cost: float = 0.0
    refused_in_a_row: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    stopped: str = ""

    @property
    def done(self) -> int:
        """The comparisons that the judge was asked about."""
        return sum(self.counts.values())

    def add(self, asked: AskedComparison) -> None:
        """Count a comparison."""
        self.counts[asked.outcome] += 1
        self.inconsistent += asked.verdict is not None and not asked.verdict.is_consistent
        self.requests += asked.requests
        self.tokens_in += asked.tokens_in or 0
        self.tokens_out += asked.tokens_out or 0
        self.without_tokens += asked.tokens_in is None
        self.cost += asked.cost or 0.0
        is_refused = asked.outcome == AiOutcome.REFUSED
        self.refused_in_a_row = self.refused_in_a_row + 1 if is_refused else 0
        if asked.error:
            problem = asked.error[:200]
            self.problems[problem] = self.problems.get(problem, 0) + 1

    def to_json(self, left: int) -> dict[str, Any]:
        """Return the tally as plain JSON values, with the ten most frequent problems."""
        frequent = sorted(self.problems.items(), key=lambda item: (-item[1], item[0]))[:10]
        return {
            **{str(outcome): count for outcome, count in self.counts.items()},
            "inconsistent": self.inconsistent,
            "requests": self.requests,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "without_tokens": self.without_tokens,
            "cost": round(self.cost, 6),
            "left": left,
            "stopped": self.stopped,
            "problems": dict(frequent),
        }


def run(context: JobContext) -> None:
    """Ask the payload's judge about its comparisons; a trial is kept in the job's result alone."""
    with context.database.reader() as session:
        work = _read(session, context)
    with ChatServer(config_of(context, work), pause=_stoppable(context)) as server:
        try:
            if work.task is JudgeTask.TRY:
                result = _try(context, server, work)
            else:
                result = _ask_all(context, server, work)
        except ChatUnavailable as error:
            raise Unavailable(str(error)) from error
        except ChatRefused as error:
            raise Invalid(str(error)) from error

    def finish(session: Session) -> Mapping[str, Any]:
        if work.task is JudgeTask.DECIDE and not _is_in_round(session, context):
            evaluation = session.get_one(Evaluation, context.payload["evaluation_id"])
            evaluations.complete(session, evaluation)
        return result

    context.succeed(finish)


def config_of(context: JobContext, work: JudgeWork) -> ChatConfig:
    """Return how to call the judge's server.

    Raises:
        Invalid: this worker may not call it, or its key is not in the environment.
    """
    allowed = servers.find(context.judges, work.setup.server)
    return ChatConfig(
        allowed.url,
        work.setup.model,
        temperature=work.setup.temperature,
        max_tokens=work.setup.max_tokens,
        json_mode=work.setup.json_mode,
        timeout_s=float(work.limits.timeout_s),
        requests_per_minute=work.limits.requests_per_minute,
        concurrency=work.limits.concurrency,
        api_key=server_access.key_of(allowed),
    )


def held(session: Session, judge_id: int) -> Judge:
    """Return a judge, locked: another job of it may be asking about the same comparison."""
    return session.get_one(Judge, judge_id, with_for_update=True, populate_existing=True)


def _is_in_round(session: Session, context: JobContext) -> bool:
    """Whether the job is one of a round that goes on, which then completes the evaluation."""
    if context.round_id is None:
        return False
    return session.get_one(Round, context.round_id).state in LIVE_ROUND_STATES


def _read(session: Session, context: JobContext) -> JudgeWork:
    payload = context.payload
    judge = session.get_one(Judge, payload["judge_id"])
    project = session.get_one(Project, judge.project_id)
    setup, ids = judges.setup_of(judge), tuple(payload["comparison_ids"])
    done = ai_judgments.judged_ids(session, judge.id, ids)
    task = JudgeTask(payload["task"])
    known = ai_judgments.totals(session, project.id).get(judge.id)
    return JudgeWork(
        judge,
        setup,
        judges.limits_of(judge),
        judges.rubric(session, project, setup),
        task,
        ids if task is JudgeTask.TRY else tuple(id for id in ids if id not in done),
        len(ids),
        known.cost if known else 0.0,
    )


def _stoppable(context: JobContext) -> Callable[[float], None]:
    """Return a pause that ends at an order to stop."""

    def pause(seconds: float) -> None:
        _obey(context)
        time.sleep(seconds)

    return pause


def _obey(context: JobContext) -> None:
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"{context.title} was asked to stop")


def _ask_all(context: JobContext, server: ChatServer, work: JudgeWork) -> dict[str, Any]:
    tally, before = JudgeTally(), work.total - len(work.comparison_ids)
    for asked in _answers(context, server, work, tally):
        with transactions.transaction(context) as session:
            judge = held(session, work.judge.id)
            ai_judgments.record(session, judge, context.job_id, asked)
        tally.add(asked)
        context.report(before + tally.done, work.total, f"judged by {work.judge.pseudonym}")
        if tally.refused_in_a_row >= REFUSED_MOST:
            raise Invalid(
                f"{server.config.url} refused {REFUSED_MOST} comparisons one after the other; the "
                f"last reason: {asked.error}"
            )
    left = len(work.comparison_ids) - tally.done
    if left and not tally.stopped:
        tally.stopped = "withdrawn in the meantime"
    for sentence in _remarks(tally, left):
        context.say(sentence)
    return {"task": work.task, "before": before, **tally.to_json(left)}


def _remarks(tally: JudgeTally, left: int) -> Iterator[str]:
    yield f"judged {tally.counts[AiOutcome.JUDGED]}; the replies disagreed on {tally.inconsistent}"
    for problem, count in tally.problems.items():
        yield f"not judged ({count}): {problem}"
    if left:
        yield f"{left} comparisons left: {tally.stopped}"


def _answers(
    context: JobContext, server: ChatServer, work: JudgeWork, tally: JudgeTally
) -> Iterator[AskedComparison]:
    """Yield what the judge says as it comes, with a few comparisons asked at a time."""
    shown = _shown(context, work)
    pool = ThreadPoolExecutor(work.limits.concurrency, thread_name_prefix="judge")
    running: set[Future[AskedComparison]] = set()
    tally.stopped = _why_stop(context, work, tally)
    try:
        while True:
            room = work.limits.concurrency - len(running)
            if not tally.stopped:
                running |= {pool.submit(_ask, server, work, each) for each in islice(shown, room)}
            if not running:
                return
            done, running = wait(running, POLL_S, FIRST_COMPLETED)
            _obey(context)
            for future in done:
                yield future.result()
            tally.stopped = tally.stopped or _why_stop(context, work, tally)
    finally:  # also when the consumer stops early
        pool.shutdown(wait=False, cancel_futures=True)


def _why_stop(context: JobContext, work: JudgeWork, tally: JudgeTally) -> str:
    budget = work.limits.budget
    if budget is not None and work.spent + tally.cost >= budget:
        return f"the budget of {budget:g} {work.limits.currency} is used up"
    return "stopped by a user" if context.should_stop() == "stop_here" else ""


def _shown(context: JobContext, work: JudgeWork) -> Iterator[ShownComparison]:
    """Yield the comparisons, read some at a time; withdrawn ones are passed over."""
    for at in range(0, len(work.comparison_ids), CHUNK):
        with context.database.reader() as session:
            chunk = _read_shown(session, work.comparison_ids[at : at + CHUNK])
        yield from chunk


def _read_shown(
    session: Session, ids: Sequence[int], *, with_withdrawn: bool = False
) -> list[ShownComparison]:
    texts: dict[int, list[str]] = {id: [] for id in ids}
    query = (
        select(ComparisonCompletion.comparison_id, Completion.text, Completion.earlier)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(ids))
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    for comparison_id, text, earlier in session.execute(query):
        texts[comparison_id].append(prompts.response(earlier, text))
    rows = session.execute(
        select(Comparison.id, Comparison.kind, Prompt.messages)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Comparison.id.in_(ids), *([] if with_withdrawn else [~Comparison.is_withdrawn]))
        .order_by(Comparison.id)
    )
    return [
        ShownComparison(id, JudgmentKind(kind), turns, tuple(texts[id])) for id, kind, turns in rows
    ]


def _ask(server: ChatServer, work: JudgeWork, shown: ShownComparison) -> AskedComparison:
    rubric = work.rubric
    answer = asking.compare(server, rubric.rubric, shown.kind, shown.turns, shown.responses)
    usage = answer.usage
    return AskedComparison(
        shown.id,
        shown.kind,
        _outcome(answer),
        answer.verdict,
        [_order_json(order) for order in answer.orders],
        usage.requests,
        usage.tokens_in,
        usage.tokens_out,
        work.limits.cost(usage.tokens_in, usage.tokens_out),
        rubric.guidelines_version,
        rubric.instruction.version,
        answer.problem,
    )


def _outcome(answer: JudgeAnswer) -> AiOutcome:
    if answer.verdict is not None:
        return AiOutcome.JUDGED
    return AiOutcome.REFUSED if answer.refusal else AiOutcome.MALFORMED


def _order_json(asked: AskedOrder) -> dict[str, Any]:
    shown = {"order": list(asked.order), "is_reversed": asked.is_reversed}
    if asked.verdict is None:
        return {**shown, "reply": asked.reply, "problem": asked.problem}
    return {**shown, **asked.verdict.to_json()}


def _try(context: JobContext, server: ChatServer, work: JudgeWork) -> dict[str, Any]:
    with context.database.reader() as session:
        (shown,) = _read_shown(session, work.comparison_ids, with_withdrawn=True)
    asked = _ask(server, work, shown)
    first, *_ = askings.of_comparison(work.rubric.rubric, shown.kind, shown.turns, shown.responses)
    verdict = asked.verdict
    context.report(1, 1, f"judged by {work.judge.pseudonym}")
    return {
        "task": work.task,
        "comparison_id": shown.id,
        "outcome": asked.outcome,
        "error": asked.error,
        "kind": shown.kind,
        **ai_judgments.columns_of(verdict),
        "is_consistent": None if verdict is None else verdict.is_consistent,
        "orders": list(asked.orders),
        "messages": [list(message) for message in first.messages],
        "requests": asked.requests,
        "tokens_in": asked.tokens_in,
        "tokens_out": asked.tokens_out,
        "cost": asked.cost,
    }
