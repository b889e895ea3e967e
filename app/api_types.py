"""What the public API sends and takes, as `app.client` reads and writes it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class ApiMessage(BaseModel):
    """A turn of the prompt."""

    role: str
    content: str


class ApiCandidate(BaseModel):
    """A completion with its canonical position, and the turns that lead up to a follow-up's."""

    position: int
    text: str
    earlier: list[ApiMessage] = []


class ApiCriterion(BaseModel):
    """A criterion to rate completions on."""

    name: str
    help: str = ""


class ApiAssignment(BaseModel):
    """A leased comparison; candidates come in the order in which to show them.

    `criteria` are those of kind rate, `reasons` (by thumb, then by value) those of kind thumbs. The
    only candidate of kind edit is the text to improve; kind write has none.
    """

    id: int
    comparison_id: int
    lease_token: str
    expires_at: datetime
    kind: str
    instruction: str = ""
    instruction_version: int | None = None
    messages: list[ApiMessage]
    candidates: list[ApiCandidate]
    strengths: list[int]
    allow_tie: bool
    allow_both_bad: bool
    criteria: list[ApiCriterion] = []
    rating_max: int = 5
    reasons: dict[str, dict[str, str]] = {}
    is_practice: bool = False


class ApiQueue(BaseModel):
    """The labeler's queue; `reasons` explain why it is empty, if it is."""

    open: int
    held: int
    judged: int
    total: int
    with_others: int
    next_free_s: float | None
    today: int
    reasons: list[str]


class ApiResult(BaseModel):
    """The result of a submission or a skip."""

    assignment_id: int
    judgment_id: int | None
    is_surplus: bool
    refused: str | None


class ApiClaim(BaseModel):
    """Leased assignments; also the queue if they are fewer than wanted."""

    assignments: list[ApiAssignment]
    queue: ApiQueue | None


class ApiExchange(ApiClaim):
    """Results in the order sent, and the next assignments."""

    results: list[ApiResult]


class ApiJudgment(BaseModel):
    """A judgment to submit; fields that its kind does not use stay empty.

    A pick uses `preferred` and `strength`, a rank `ranking`, a rate `ratings` (of each canonical
    position, by criterion), thumbs `thumb` and `reasons`, write and edit `text`.
    """

    kind: str
    preferred: str | None = None
    strength: int | None = None
    ranking: list[int] | None = None
    ratings: dict[str, list[int]] | None = None
    thumb: str | None = None
    reasons: list[str] = []
    text: str | None = None
    both_bad: bool = False


class ApiSubmission(BaseModel):
    """A judgment of an assignment, with a key that a repeated request must share."""

    assignment_id: int
    lease_token: str
    key: str
    answer: ApiJudgment
    flags: list[str] = []
    comment: str = ""
    active_ms: int = 0
    instruction_version: int | None = None


class ApiSkip(BaseModel):
    """A comparison that the labeler leaves to others."""

    assignment_id: int
    lease_token: str
    key: str
    reason: str
    comment: str = ""


class ApiWeights(BaseModel):
    """Labeler weights in use, by pseudonym; all others weigh 1. Empty: none are in use."""

    weights: dict[str, float]
    since: datetime | None
    by: str
    earlier: dict[str, float] | None


class ApiCompletion(BaseModel):
    """A completion in its canonical position; an edited text has neither position nor id."""

    position: int | None
    completion_id: int | None
    model: str
    checkpoint_id: int | None
    text: str | None = None
    earlier: list[dict[str, str]] = []


class ApiComparisonRow(BaseModel):
    """A comparison in a list; `messages` and texts only if asked for."""

    id: int
    prompt_id: int
    round: int | None
    kind: str
    purpose: str
    state: str
    split: str
    source: str
    category: str
    tags: list[str]
    overlap: int
    judgments: int
    priority: int
    is_settled: bool
    evaluation_id: int | None
    created_at: datetime
    completions: list[ApiCompletion]
    messages: list[dict[str, Any]] | None = None


class ApiJudgmentRow(BaseModel):
    """A revision of anybody's judgment in a list; `state` says whether it counts."""

    id: int
    comparison_id: int
    prompt_id: int
    round: int | None
    kind: str
    purpose: str
    state: str
    split: str
    source: str
    category: str
    labeler: str
    revision: int
    supersedes_id: int | None
    preferred: str | None
    strength: int | None
    ranking: list[int] | None
    ratings: dict[str, list[int]] | None
    both_bad: bool
    thumb: str | None
    reasons: list[str]
    text: str | None
    flags: list[str]
    comment: str
    shown_order: list[int]
    guidelines_version: int
    started_at: datetime
    submitted_at: datetime
    active_ms: int


class ApiPreferenceRow(BaseModel):
    """A pair of completions that a judgment puts in an order, or finds equally good."""

    judgment_id: int
    number: int
    comparison_id: int
    prompt_id: int
    round: int | None
    kind: str
    purpose: str
    split: str
    source: str
    category: str
    labeler: str
    guidelines_version: int
    submitted_at: datetime
    strength: int | None
    is_tie: bool
    chosen: ApiCompletion
    rejected: ApiCompletion
    messages: list[dict[str, Any]] | None = None


class ApiPromptEdit(BaseModel):
    """The prompts that a bulk edit selected and changed, and its id, with which to undo it."""

    selected: int
    changed: int
    edit: dict[str, Any] | None


class ApiMeasure(BaseModel):
    """A figure with its 95 % interval; without a value or an interval, `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str


class ApiRankedSource(BaseModel):
    """A source on the leaderboard; ranks are within its group."""

    source: str
    best_rank: int
    worst_rank: int
    win_rate: ApiMeasure
    strength: ApiMeasure
    is_enough: bool
    wins: int
    ties: int
    losses: int
    prompts: int
    mean_length: float


class ApiSourceGroup(BaseModel):
    """Sources that votes connect, the strongest first; `wins` and `ties` are in this order."""

    sources: list[ApiRankedSource]
    verdict: str
    wins: list[list[int]]
    ties: list[list[int]]
    winners: list[list[str]]
    losers: list[list[str]]
    has_maximum: bool
    length_effect: ApiMeasure


class ApiCategorySources(BaseModel):
    """The leaderboard on the prompts of one category."""

    category: str
    votes: int
    groups: list[ApiSourceGroup]


class ApiLeaderboard(BaseModel):
    """Sources ranked by votes, and which judgments are behind it."""

    by: str
    reference: str
    length_controlled: bool
    groups: list[ApiSourceGroup]
    without_votes: list[str]
    votes: int
    prompts: int
    judgments_of_people: int
    judgments_of_judges: int
    same_source: int
    no_preference: int
    chosen: int
    includes_chosen: bool
    left_out: dict[str, int]
    categories: list[ApiCategorySources]
