"""Projects, their instruction, guidelines and criteria."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain import goals
from app.domain.chat_settings import ChatSettings
from app.domain.goals import Goal, ProjectSection
from app.domain.judgment_kinds import JudgmentKind


class Project(Identified, Base):
    """A labeling task and the models trained on its judgments."""

    __tablename__ = "project"

    slug: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(default="")
    goal: Mapped[Goal] = mapped_column(String(20), default=Goal.TRAIN, server_default=Goal.TRAIN)
    instruction: Mapped[str] = mapped_column(default="")  # added to every prompt
    instruction_version: Mapped[int] = mapped_column(default=1, server_default="1")  # the newest
    judgment_kind: Mapped[JudgmentKind] = mapped_column(String(20))
    k: Mapped[int]  # completions in a comparison
    overlap: Mapped[int]  # K, the judgments per comparison
    strength_steps: Mapped[int] = mapped_column(default=4)  # 0: labelers give no strength
    allow_tie: Mapped[bool] = mapped_column(default=True)
    allow_both_bad: Mapped[bool] = mapped_column(default=True)
    rating_max: Mapped[int] = mapped_column(default=5)
    gold_rate: Mapped[float] = mapped_column(default=0.0)
    repeat_rate: Mapped[float] = mapped_column(default=0.0)
    evaluation_rate: Mapped[float] = mapped_column(default=0.3)
    practice_pass_share: Mapped[float | None]
    is_paused: Mapped[bool] = mapped_column(default=False)
    base_model: Mapped[str | None]  # local path or hub name
    sft_checkpoint_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("checkpoint.id", use_alter=True)
    )
    policy_checkpoint_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("checkpoint.id", use_alter=True)
    )
    split_seed: Mapped[int] = mapped_column(default=0)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # other options by name
    median_active_ms: Mapped[int | None]  # of recent judgments; determines the lease length
    # Changes of categories and tags so far: what is cached by category is then out of date.
    prompt_changes: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    # From this judgment on, an automatic round may be due; None: no judgment is looked at.
    automatic_look_from_id: Mapped[int | None] = mapped_column(Key)
    created_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]

    @property
    def trains(self) -> bool:
        """Whether models are trained in rounds here."""
        return goals.trains(Goal(self.goal))

    @property
    def sections(self) -> frozenset[ProjectSection]:
        """The parts that the navigation leads to."""
        return goals.sections(Goal(self.goal))

    @property
    def chat(self) -> dict[str, Any]:
        """The settings for chat templates, with defaults for what is not set."""
        return ChatSettings.from_json((self.settings or {}).get("chat", {})).to_json()

    @chat.setter
    def chat(self, chosen: dict[str, Any]) -> None:
        kept = ChatSettings.from_json(chosen).to_json()
        if kept != self.chat:
            self.settings = {**(self.settings or {}), "chat": kept}


class Guidelines(Identified, Base):
    """A version of the labelers' guidelines; immutable once a judgment refers to it."""

    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    version: Mapped[int]
    rules: Mapped[str]  # Markdown: the few rules that settle most cases
    edge_cases: Mapped[str] = mapped_column(default="")  # Markdown
    body: Mapped[str] = mapped_column(default="")  # Markdown: the full text
    summary: Mapped[str] = mapped_column(String(300), default="")  # what changed
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]

    @property
    def text(self) -> str:
        """All of it; empty if nothing has been written."""
        return f"{self.rules}{self.edge_cases}{self.body}".strip()


class Instruction(Identified, Base):
    """A version of the instruction that is added to every prompt; it never changes."""

    __tablename__ = "instruction"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    version: Mapped[int]
    text: Mapped[str]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class Criterion(Identified, Base):
    """A criterion on which completions are rated."""

    __tablename__ = "criterion"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(60))
    help: Mapped[str] = mapped_column(default="")
    weight: Mapped[float] = mapped_column(default=1.0)
    position: Mapped[int] = mapped_column(default=0)
    scale: Mapped[list[int] | None]  # lowest and highest rating in a file; None: as labelers rate
    is_active: Mapped[bool] = mapped_column(default=True)
