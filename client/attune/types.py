"""What the API answers with, as frozen values.

Fields that a newer server adds are left out, so that an older client keeps working; `from_json`
refuses an answer that lacks one of the fields below. Times are UTC, in ISO 8601.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

from attune.errors import ClientError


@dataclass(frozen=True, slots=True)
class Answer:
    """An object of the API."""

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """Return the value of a JSON object.

        Raises:
            ClientError: a field is missing.
        """
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in given]
        if missing:
            raise ClientError(f"the server's {cls.__name__} has no {missing[0]!r}; is it older?")
        return cls(**{name: given[name] for name in names})


@dataclass(frozen=True, slots=True)
class ProjectInfo(Answer):
    """A project and its most important settings.

    `goal` is collect, compare or train; `k` is the completions of a comparison.
    """

    slug: str
    name: str
    description: str
    goal: str
    judgment_kind: str
    k: int
    overlap: int
    is_paused: bool
    base_model: str | None
    policy_checkpoint_id: int | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Export(Answer):
    """A frozen file of judged comparisons.

    `state` is queued, ready or failed; `counts` says of each unit how much was considered, exported
    and excluded, by reason.
    """

    number: int
    format: str
    container: str
    options: dict[str, Any]
    state: str
    error: str
    rows: int
    bytes: int
    sha256: str
    counts: dict[str, dict[str, Any]]
    manifest: dict[str, Any]
    job_id: int | None
    created_at: str


@dataclass(frozen=True, slots=True)
class ImportResult(Answer):
    """What came of an import.

    `counts` are of what was added, `rejects` the lines that were not (`line`, `reason`),
    `duplicates` what was there already, and `remarks` what else is to be known.
    """

    id: int
    filename: str
    format: str
    sha256: str
    is_evaluation: bool
    counts: dict[str, int]
    rejects: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Verdict(Answer):
    """The finding that a page opens with; `advice` is what to do about it, and `page` where."""

    finding: str
    tone: str
    sentence: str
    advice: str
    page: str
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Round(Answer):
    """A round; `is_over` once it was decided, failed or cancelled."""

    number: int
    state: str
    reason: str
    plan: dict[str, Any]
    created_at: str
    ended_at: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in {"promoted", "held", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class RoundProgress(Round):
    """A round with its jobs, checks, models and evaluation, and its labeling in judgments."""

    gates: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    labeling: dict[str, int]
    evaluation_labeling: dict[str, int]
    evaluation: dict[str, Any] | None
    checkpoints: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint(Answer):
    """A model; `sha256` is the hash of its manifest, which has the hash of every file."""

    id: int
    kind: str
    name: str
    state: str
    parent_id: int | None
    round_id: int | None
    uri: str
    sha256: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    created_at: str
