"""Runs simulated labelers over HTTP: they claim, judge and submit as people do.

How a labeler judges is in `labelers`. Each labeler has a thread that fetches, translates and
submits its work until there is none left or the caller stops it.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from app.api_types import ApiAssignment, ApiJudgment, ApiSkip, ApiSubmission
from app.client import Client, ProjectClient, RequestRefused
from app.domain.judgment_kinds import JudgmentKind
from app.simulation.labelers import (
    ComparisonView,
    ShownCompletion,
    SimulatedJudgment,
    SimulatedLabeler,
)

BATCH = 3  # a labeler may hold three assignments
IDLE_S = 0.3
LONGEST_IDLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Member:
    """A simulated labeler with the API token of its account."""

    labeler: SimulatedLabeler
    token: str


@dataclass(slots=True)
class PanelTotals:
    """The work of a panel so far."""

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
        stays: whether to wait for more when the queue is empty, rather than leave.
        speed: how many times faster than a person each labeler works; None: without waiting.
    """

    url: str
    slug: str
    members: Sequence[Member]
    stays: bool = True
    speed: float | None = None
    totals: PanelTotals = field(default_factory=PanelTotals)
    _stop: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor | None = None
    _working: list[Future[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start all labelers."""
        self._pool = ThreadPoolExecutor(max_workers=len(self.members), thread_name_prefix="panel")
        self._working = [self._pool.submit(self._work, member) for member in self.members]

    @property
    def is_working(self) -> bool:
        """Whether any labeler is still at work."""
        return not all(future.done() for future in self._working)

    def wait(self) -> PanelTotals:
        """Wait until all labelers have left; raise the first error of any of them."""
        for future in self._working:
            future.result()
        if self._pool is not None:
            self._pool.shutdown()
        return self.totals

    def stop(self) -> PanelTotals:
        """Let all labelers finish their current work and leave."""
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
    totals: PanelTotals,
    stop: threading.Event,
    *,
    stays: bool = False,
    speed: float | None = None,
) -> None:
    """Judge what the queue gives one labeler until nothing is left, or `stop` is set."""
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


def view_of(assignment: ApiAssignment) -> ComparisonView:
    """Return an assignment as a simulated labeler sees it."""
    return ComparisonView(
        comparison=_content(assignment),
        prompt=assignment.messages[-1].content,
        shown=tuple(
            ShownCompletion(candidate.position, candidate.text)
            for candidate in assignment.candidates
        ),
        kind=JudgmentKind(assignment.kind),
        allows_ties=assignment.allow_tie,
        allows_both_bad=assignment.allow_both_bad,
        asks_strength=bool(assignment.strengths),
        criteria=tuple(criterion.name for criterion in assignment.criteria),
        points=assignment.rating_max,
    )


def _content(assignment: ApiAssignment) -> str:
    """Name a comparison by its content; the number that labelers see differs between servers."""
    texts = sorted((candidate.position, candidate.text) for candidate in assignment.candidates)
    held = json.dumps([assignment.messages[-1].content, texts])
    return hashlib.sha256(held.encode()).hexdigest()[:16]


def submission_of(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiSubmission:
    """Return a simulated judgment as the API takes it."""
    return ApiSubmission(
        assignment_id=assignment.id,
        lease_token=assignment.lease_token,
        key=_key(assignment),
        answer=_JUDGMENTS[JudgmentKind(assignment.kind)](assignment, judged),
        active_ms=round(judged.active_s * 1000),
        instruction_version=assignment.instruction_version,
    )


def _judge(
    project: ProjectClient,
    labeler: SimulatedLabeler,
    assignments: Sequence[ApiAssignment],
    totals: PanelTotals,
    stop: threading.Event,
    speed: float | None,
) -> list[ApiAssignment]:
    submissions, skips = [], []
    for assignment in assignments:
        judged = labeler.judge(view_of(assignment))
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
    with suppress(RequestRefused):  # otherwise the leases simply expire
        project.release()


def _pick(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiJudgment:
    best = judged.preferred
    strength = None
    if judged.strength is not None and best is not None and assignment.strengths:
        strength = _nearest(assignment.strengths, judged.strength)
    preferred = "tie" if best is None else "ab"[best]
    return ApiJudgment(
        kind=assignment.kind, preferred=preferred, strength=strength, both_bad=judged.both_bad
    )


def _rank(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiJudgment:
    return ApiJudgment(kind=assignment.kind, ranking=_ranks(judged.groups))


def _rate(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiJudgment:
    return ApiJudgment(kind=assignment.kind, ratings=_ratings(assignment, judged))


def _thumb(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiJudgment:
    return ApiJudgment(kind=assignment.kind, thumb="up" if judged.thumb_up else "down")


def _text(assignment: ApiAssignment, judged: SimulatedJudgment) -> ApiJudgment:
    return ApiJudgment(kind=assignment.kind, text=judged.text)


_JUDGMENTS: Mapping[JudgmentKind, Callable[[ApiAssignment, SimulatedJudgment], ApiJudgment]] = {
    JudgmentKind.PICK: _pick,
    JudgmentKind.RANK: _rank,
    JudgmentKind.RATE: _rate,
    JudgmentKind.THUMBS: _thumb,
    JudgmentKind.WRITE: _text,
    JudgmentKind.EDIT: _text,
}


def _ratings(assignment: ApiAssignment, judged: SimulatedJudgment) -> dict[str, list[int]]:
    positions = sorted(candidate.position for candidate in assignment.candidates)
    return {
        criterion.name: [judged.ratings[position, criterion.name] for position in positions]
        for criterion in assignment.criteria
    }


def _nearest(offered: Sequence[int], wanted: int) -> int:
    return min(offered, key=lambda strength: (abs(strength - wanted), strength))


def _ranks(groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the competition rank of each position: 1 plus the number of better ones."""
    ranks = dict[int, int]()
    for group in groups:
        better = len(ranks)
        ranks.update(dict.fromkeys(group, 1 + better))
    return [ranks[position] for position in sorted(ranks)]


def _skip(assignment: ApiAssignment, reason: str) -> ApiSkip:
    return ApiSkip(
        assignment_id=assignment.id,
        lease_token=assignment.lease_token,
        key=_key(assignment),
        reason="unclear",
        comment=reason,
    )


def _key(assignment: ApiAssignment) -> str:
    # From the lease token, so that repeating a request repeats its key.
    return f"sim-{assignment.id}-{assignment.lease_token}"[:64]
