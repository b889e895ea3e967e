"""The filters of a leaderboard, for its page, its files, the API and the command line."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.services.quality import leaderboard, leaderboard_rows
from app.services.quality.leaderboard import CategoryLeaderboards, LeaderboardReport, VotesBy


class LeaderboardFilters(BaseModel):
    """Which votes count, and what sources are compared with; unknown filters are refused."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[VotesBy, Field(description="Whose votes count.")] = VotesBy.PEOPLE
    category: Annotated[
        str, Field(description="Prompts of this category; (none): without one.")
    ] = ""
    tag: Annotated[str, Field(description="Prompts with this tag.")] = ""
    length: Annotated[bool, Field(description="Take differences in length out.")] = False
    chosen: Annotated[
        bool, Field(description="Include comparisons that a rule chose; they are not typical.")
    ] = False
    reference: Annotated[
        str, Field(description="The source that win rates are against; empty: all others.")
    ] = ""

    @property
    def is_filtered(self) -> bool:
        """Whether only some prompts count."""
        return bool(self.category or self.tag)

    def read(self, session: Session, project_id: int) -> LeaderboardReport:
        """Return the leaderboard.

        Raises:
            Invalid: the reference is not a source with votes.
        """
        report = leaderboard.of_project(
            session,
            project_id,
            by=self.by,
            categories=(self.category,) if self.category else (),
            tags=(self.tag,) if self.tag else (),
            length=self.length,
            chosen=self.chosen,
        )
        leaderboard_rows.check_reference(report.board, self.reference)
        return report

    def by_category(self, session: Session, project_id: int) -> CategoryLeaderboards:
        """Return the leaderboards by category; none if a category is chosen."""
        if self.category:
            return CategoryLeaderboards()
        return leaderboard.by_category(
            session,
            project_id,
            by=self.by,
            tags=(self.tag,) if self.tag else (),
            length=self.length,
            chosen=self.chosen,
        )
