"""Form fields of a scoring: what scores, what the worst scores are, and which responses."""

from typing import Any

from fastapi import UploadFile
from pydantic import BaseModel, model_validator

from app.domain.reward_parts import PartKind, RewardPart, ScoreForm
from app.errors import Invalid
from app.models import Split
from app.services.rounds.scorings import EVALUATION, PromptChoice, ScorerChoice

KINDS = (
    (str(PartKind.CLASSIFIER), "Classifier"),
    (str(PartKind.REWARD_MODEL), "Reward model"),
    (str(PartKind.ENDPOINT), "HTTP endpoint"),
    (str(PartKind.JUDGE), "LLM judge"),
    (str(PartKind.LENGTH), "Rule: length"),
    (str(PartKind.FORMAT), "Rule: pattern"),
)
SCORES = ((str(ScoreForm.PROBABILITY), "probability"), (str(ScoreForm.LOGIT), "logit"))
READS = (("", "the response"), ("yes", "prompt and response"))
WORST = (("high", "the highest, as for toxicity"), ("low", "the lowest, as for a reward"))
GROUPS = (
    *((str(split), f"{split} split") for split in (Split.TEST, Split.VALIDATION, Split.TRAIN)),
    (EVALUATION, "evaluation sets"),
)


class ScoreFields(BaseModel):
    """The form of a new scoring; an empty field is one that was not sent."""

    kind: PartKind = PartKind.CLASSIFIER
    source: str = ""
    label: str = ""
    score: ScoreForm = ScoreForm.PROBABILITY
    reads: str = ""
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    judge: str = ""
    rubric: str = ""
    threshold: float | None = None
    worst: str = "high"
    responses: str = "models"
    models: list[int] = []
    group: str = Split.TEST
    category: str = ""
    prompts: int = 100
    file: UploadFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        """Treat an empty field as one that was not sent."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value != ""}

    @property
    def scorer(self) -> ScorerChoice:
        """What scores; fields that its kind does not have are left out.

        Raises:
            Invalid: a value breaks a rule.
        """
        kind, source = self.kind, self.source.strip()
        is_classifier = kind is PartKind.CLASSIFIER
        is_length, is_judge = kind is PartKind.LENGTH, kind is PartKind.JUDGE
        is_model = kind in (PartKind.CLASSIFIER, PartKind.REWARD_MODEL)
        part = RewardPart(
            kind,
            model=source if is_model else self.judge.strip() if is_judge else "",
            url=source if kind in (PartKind.ENDPOINT, PartKind.JUDGE) else "",
            rubric=self.rubric.strip() if is_judge else "",
            label=self.label.strip() if is_classifier else "",
            score=self.score if is_classifier else ScoreForm.LOGIT,
            reads_prompt=is_classifier and bool(self.reads),
            shortest=self.shortest if is_length else 0,
            longest=self.longest if is_length else None,
            pattern=self.pattern if kind is PartKind.FORMAT else "",
        )
        return ScorerChoice(part, self.threshold, self.worst == "high")

    @property
    def chosen(self) -> PromptChoice:
        """The prompts that models respond to."""
        return PromptChoice(self.group, self.category, self.prompts)

    @property
    def upload(self) -> UploadFile:
        """The file whose responses are scored.

        Raises:
            Invalid: none was chosen.
        """
        if self.file is None or not self.file.filename:
            raise Invalid("choose a file with responses, or score models instead")
        return self.file
