"""Puts simulated labelers to work over HTTP: they claim, judge and submit as people do.

What a labeler answers is in `labelers`; here it is fetched, translated and handed in, by one
thread for each labeler, until the work is done or the caller says stop.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from app.client import Answer, Assignment, Client, ProjectClient, Refused, Skip, Submission
from app.simulation.labelers import Answer as Judged
from app.simulation.labelers import Kind, Question, Shown, SimulatedLabeler

BATCH = 3  # a labeler may hold three assignments
IDLE_S = 0.3
LONGEST_IDLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Member:
    """A simulated labeler with the API token of its account."""

    labeler: SimulatedLabeler
    token: str


@dataclass(slots=True)
class Totals:
    """What a panel has done so far."""

    judged: int = 0
    skipped: int = 0
    surplus: int = 0
    refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, judged: int, skipped: int, surplus: int, refused: int) -> None:
        """Count one exchange."""
        with self._lock:
            self.judged += judged
            self.skipped += skipped
            self.surplus += surplus
            self.refused += refused


@dataclass(slots=True)
class Panel:
    """Labelers at work in one project.

    Args:
        url: the server's address.
        slug: the project.
        members: who labels.
        stays: True: wait for more when the queue is empty; False: leave when nothing is left.
        speed: how much faster than a person each one works; None: as fast as the server.
    """

    url: str
    slug: str
    members: Sequence[Member]
    stays: bool = True
    speed: float | None = None
    totals: Totals = field(default_factory=Totals)
    _stop: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor | None = None
    _working: list[Future[None]] = field(default_factory=list)

    def start(self) -> None:
        """Let everybody begin."""
        self._pool = ThreadPoolExecutor(max_workers=len(self.members), thread_name_prefix="panel")
        self._working = [self._pool.submit(self._work, member) for member in self.members]

    @property
    def is_working(self) -> bool:
        """True until everybody has left."""
        return not all(future.done() for future in self._working)

    def wait(self) -> Totals:
        """Wait until all have left, and raise what went wrong for one of them."""
        for future in self._working:
            future.result()
        if self._pool is not None:
            self._pool.shutdown()
        return self.totals

    def stop(self) -> Totals:
        """Let everybody finish what is in hand and leave."""
        self._stop.set()
        return self.wait()

    def _work(self, member: Member) -> None:
        with Client(self.url, member.token) as client:
            work_through(
                client.project(self.slug),
                member.labeler,
                self.totals,
                self._stop,
                stays=self.stays,
                speed=self.speed,
            )


def work_through(
    project: ProjectClient,
    labeler: SimulatedLabeler,
    totals: Totals,
    stop: threading.Event,
    *,
    stays: bool = False,
    speed: float | None = None,
) -> None:
    """Judge what the queue gives to one labeler until it has left, or is told to stop."""
    idle_s = IDLE_S
    assignments = project.claim(count=BATCH).assignments
    while not stop.is_set():
        if assignments:
            idle_s = IDLE_S
            assignments = _judge(project, labeler, assignments, totals, stop, speed)
            continue
        claimed = project.claim(count=BATCH)
        assignments = claimed.assignments
        if assignments:
            continue
        is_over = claimed.queue is None or not (claimed.queue.open or claimed.queue.with_others)
        if is_over and not stays:
            return
        stop.wait(idle_s)
        idle_s = min(idle_s * 1.5, LONGEST_IDLE_S)
    _leave(project)


def question_of(assignment: Assignment) -> Question:
    """Return an assignment as a simulated labeler meets it."""
    return Question(
        comparison=_content(assignment),
        prompt=assignment.messages[-1].content,
        shown=tuple(Shown(one.position, one.text) for one in assignment.candidates),
        kind=Kind(assignment.kind),
        allows_ties=assignment.allow_tie,
        allows_both_bad=assignment.allow_both_bad,
        asks_strength=bool(assignment.strengths),
        criteria=tuple(one.name for one in assignment.criteria),
        points=assignment.rating_max,
    )


def _content(assignment: Assignment) -> str:
    """Name a comparison by what it holds: the number that labelers see differs by server."""
    texts = sorted((one.position, one.text) for one in assignment.candidates)
    held = json.dumps([assignment.messages[-1].content, texts])
    return hashlib.sha256(held.encode()).hexdigest()[:16]


def submission_of(assignment: Assignment, judged: Judged) -> Submission:
    """Return what a labeler said, as the API takes it."""
    return Submission(
        assignment_id=assignment.id,
        lease_token=assignment.lease_token,
        key=_key(assignment),
        answer=_answer(assignment, judged),
        active_ms=round(judged.active_s * 1000),
    )


def _judge(
    project: ProjectClient,
    labeler: SimulatedLabeler,
    assignments: Sequence[Assignment],
    totals: Totals,
    stop: threading.Event,
    speed: float | None,
) -> list[Assignment]:
    submissions, skips = [], []
    for assignment in assignments:
        judged = labeler.judge(question_of(assignment))
        if speed is not None:
            stop.wait(judged.active_s / speed)
        if judged.skip_reason is None:
            submissions.append(submission_of(assignment, judged))
        else:
            skips.append(_skip(assignment, judged.skip_reason))
    exchanged = project.exchange(submissions, skips, count=0 if stop.is_set() else BATCH)
    given = exchanged.results[: len(submissions)]
    totals.add(
        judged=sum(result.refused is None for result in given),
        skipped=sum(result.refused is None for result in exchanged.results[len(given) :]),
        surplus=sum(result.is_surplus for result in given),
        refused=sum(result.refused is not None for result in exchanged.results),
    )
    return exchanged.assignments


def _leave(project: ProjectClient) -> None:
    with suppress(Refused):  # otherwise the leases run out by themselves
        project.release()


def _answer(assignment: Assignment, judged: Judged) -> Answer:
    match Kind(assignment.kind):
        case Kind.PICK:
            return _pick(assignment, judged)
        case Kind.RANK:
            return Answer(kind="rank", ranking=_ranks(judged.groups))
        case Kind.RATE:
            return Answer(kind="rate", ratings=_ratings(assignment, judged))
        case Kind.THUMBS:
            return Answer(kind="thumbs", thumb="up" if judged.thumb_up else "down")
        case Kind.WRITE | Kind.EDIT as kind:
            return Answer(kind=kind, text=judged.text)


def _pick(assignment: Assignment, judged: Judged) -> Answer:
    best = judged.preferred
    strength = None
    if judged.strength is not None and best is not None and assignment.strengths:
        strength = _nearest(assignment.strengths, judged.strength)
    preferred = "tie" if best is None else "ab"[best]
    return Answer(kind="pick", preferred=preferred, strength=strength, both_bad=judged.both_bad)


def _ratings(assignment: Assignment, judged: Judged) -> dict[str, list[int]]:
    positions = sorted(one.position for one in assignment.candidates)
    return {
        one.name: [judged.ratings[position, one.name] for position in positions]
        for one in assignment.criteria
    }


def _nearest(offered: Sequence[int], wanted: int) -> int:
    return min(offered, key=lambda one: (abs(one - wanted), one))


def _ranks(groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the competition rank of each position: 1 and the number of better ones."""
    ranks = dict[int, int]()
    for group in groups:
        better = len(ranks)
        ranks.update(dict.fromkeys(group, 1 + better))
    return [ranks[position] for position in sorted(ranks)]


def _skip(assignment: Assignment, reason: str) -> Skip:
    return Skip(
        assignment_id=assignment.id,
        lease_token=assignment.lease_token,
        key=_key(assignment),
        reason="unclear",
        comment=reason,
    )


def _key(assignment: Assignment) -> str:
    # The lease's own token: sent again, the same work has the same key.
    return f"sim-{assignment.id}-{assignment.lease_token}"[:64]
