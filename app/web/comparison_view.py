"""One comparison as its page shows it: what was said in words, and when it is asked."""

from dataclasses import dataclass, field

from app.models import AiJudgment, AiOutcome, Assignment, Judge, Membership
from app.services.datasets import imported_votes
from app.services.judging import judgment_bodies
from app.services.quality import comparison_details
from app.services.quality.comparison_details import ComparisonDetail, JudgmentDetail
from app.web import ai_verdicts
from app.web.judgment_kinds import SettlementForm, in_words


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """One comparison with its judgments, and the forms to settle and steer it."""

    detail: ComparisonDetail
    reasons: dict[str, str]
    strengths: dict[int, str]
    holders: list[tuple[Assignment, Membership]]
    labelers: list[Membership]
    form: SettlementForm
    error: str = ""
    of_judges: list[tuple[AiJudgment, Judge]] = field(default_factory=list)
    has_rounds: bool = False  # the project has had one

    @property
    def is_settling(self) -> bool:
        """Whether a form to settle it was refused and came back."""
        return self.form != SettlementForm()

    @property
    def turn(self) -> str:
        """When it is asked, if that is neither with the others nor over."""
        comparison = self.detail.comparison
        if not comparison.open_slots or comparison.priority == 0:
            return ""
        if comparison.priority == imported_votes.BEHIND_ROUNDS:
            return "Those of rounds are asked first." if self.has_rounds else ""
        return (
            "It is asked before others." if comparison.priority > 0 else "Others are asked first."
        )

    @property
    def letters(self) -> str:
        """The letters that name the responses."""
        return "".join(comparison_details.letter(at) for at in range(len(self.detail.completions)))

    def verdict(self, said: AiJudgment) -> str:
        """Return what an AI judge said in words, with responses named by letter."""
        if said.outcome != AiOutcome.JUDGED:
            return f"{said.outcome}: {said.error}"
        return ai_verdicts.in_letters(said.ranking, said.ratings, said.thumb, self.letters)

    def words(self, detail: JudgmentDetail) -> str:
        """Return a judgment in words, with responses named by letter."""
        body = judgment_bodies.body_of(detail.judgment)
        return in_words(body, range(len(self.detail.completions)), self.letters)
