"""AI judges and their judgments, in tables of their own: no figure about people reads these."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.judgment_kinds import JudgmentKind


class Judge(Identified, Base):
    """A language model behind a server that judges comparisons of a project.

    `setup` is a `JudgeSetup` and never changes; `limits` are `JudgeLimits`. The `alone_…` columns
    record who let it label without having been compared with people, and why.
    """

    __tablename__ = "judge"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        UniqueConstraint("project_id", "pseudonym"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(60))
    pseudonym: Mapped[str] = mapped_column(String(20))  # J1, J2 …
    setup: Mapped[dict[str, Any]]
    limits: Mapped[dict[str, Any]]
    alone_reason: Mapped[str] = mapped_column(default="")
    alone_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    alone_at: Mapped[datetime | None]
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]


class AiOutcome(StrEnum):
    """What became of asking a judge about a comparison."""

    JUDGED = "judged"
    MALFORMED = "malformed"  # no verdict could be read from a reply
    REFUSED = "refused"  # the server refused the request, for example because it was too long


class AiJudgment(Identified, Base):
    """What a judge said of a comparison, over all replies; by canonical position.

    The columns of other kinds are null, and so is a `thumb` on which the replies contradict each
    other. `orders` has each request: the positions as shown, what the reply gave, and its
    explanation. A comparison that was not judged may be asked of the judge again; its row is then
    replaced, and the tokens and the cost add up.
    """

    __tablename__ = "ai_judgment"
    __table_args__ = (UniqueConstraint("judge_id", "comparison_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    judge_id: Mapped[int] = mapped_column(ForeignKey("judge.id"))
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    outcome: Mapped[AiOutcome] = mapped_column(String(20))
    error: Mapped[str] = mapped_column(default="")
    kind: Mapped[JudgmentKind] = mapped_column(String(20))
    ranking: Mapped[list[int] | None]
    strength: Mapped[int | None]
    ratings: Mapped[dict[str, Any] | None]  # by criterion
    thumb: Mapped[str | None] = mapped_column(String(4))
    is_consistent: Mapped[bool] = mapped_column(default=True)
    orders: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    requests: Mapped[int] = mapped_column(default=0)
    tokens_in: Mapped[int | None]  # None: the server did not say
    tokens_out: Mapped[int | None]
    cost: Mapped[float | None]  # None: prices or tokens are unknown
    guidelines_version: Mapped[int]
    instruction_version: Mapped[int]
    created_at: Mapped[datetime]


class ExportAiJudgment(Base):
    """An AI judgment in an export: the link from it to the models trained on it."""

    __tablename__ = "export_ai_judgment"

    export_id: Mapped[int] = mapped_column(ForeignKey("export.id"), primary_key=True)
    ai_judgment_id: Mapped[int] = mapped_column(
        ForeignKey("ai_judgment.id"), primary_key=True, index=True
    )
