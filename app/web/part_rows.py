"""Rows of a form, one for each reward that has a model, an endpoint or a judge.

A row is a value in each of several lists, because forms send repeated fields as lists. A row
without a source is empty, and left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from app.domain.reward_parts import PartKind, RewardPart, ScoreForm
from app.errors import Invalid

KINDS = (
    (str(PartKind.CLASSIFIER), "Classifier"),
    (str(PartKind.REWARD_MODEL), "Reward model"),
    (str(PartKind.ENDPOINT), "HTTP endpoint"),
    (str(PartKind.JUDGE), "LLM judge"),
)
_SERVED = (PartKind.ENDPOINT, PartKind.JUDGE)
"""Kinds whose source is a URL."""
SCORES = ((str(ScoreForm.LOGIT), "logit"), (str(ScoreForm.PROBABILITY), "probability"))
READS = (("", "the response"), ("yes", "prompt and response"))


@dataclass(frozen=True, slots=True)
class PartRow:
    """One row as the form shows it."""

    kind: str = PartKind.CLASSIFIER
    name: str = ""
    source: str = ""
    label: str = ""
    score: str = ScoreForm.LOGIT
    reads: str = ""
    weight: str = "1"
    at_least: str = ""
    judge: str = ""
    rubric: str = ""

    @classmethod
    def of(cls, part: RewardPart) -> "PartRow":
        """Return the row of a part."""
        return cls(
            str(part.kind),
            part.name,
            part.url if part.kind in _SERVED else part.model,
            part.label,
            str(part.score),
            "yes" if part.reads_prompt else "",
            _shown(part.weight),
            "" if part.at_least is None else _shown(part.at_least),
            part.model if part.kind is PartKind.JUDGE else "",
            part.rubric,
        )

    def part(self) -> RewardPart:
        """Return the part of the row; settings that its kind does not have are left out.

        Raises:
            Invalid: a value breaks a rule.
        """
        if self.kind not in (kind for kind, _ in KINDS):
            raise Invalid(f"{self.kind!r} is no kind of reward")
        kind, source = PartKind(self.kind), self.source.strip()
        is_classifier, is_judge = kind is PartKind.CLASSIFIER, kind is PartKind.JUDGE
        model = self.judge.strip() if is_judge else "" if kind in _SERVED else source
        return RewardPart(
            kind,
            _number(self.weight or "1", f"the weight of {source}"),
            name=self.name.strip(),
            model=model,
            url=source if kind in _SERVED else "",
            rubric=self.rubric.replace("\r\n", "\n").strip() if is_judge else "",
            label=self.label.strip() if is_classifier else "",
            score=ScoreForm(self.score) if is_classifier else ScoreForm.LOGIT,
            reads_prompt=is_classifier and bool(self.reads),
            at_least=_number(self.at_least, f"the floor of {source}")
            if self.at_least.strip()
            else None,
        )


class PartRows(BaseModel):
    """The lists that a form sends, all of the same length."""

    part_kind: list[str] = []
    part_name: list[str] = []
    part_source: list[str] = []
    part_label: list[str] = []
    part_score: list[str] = []
    part_reads: list[str] = []
    part_weight: list[str] = []
    part_at_least: list[str] = []
    part_judge: list[str] = []
    part_rubric: list[str] = []

    @property
    def rows(self) -> list[PartRow]:
        """The rows that are filled in.

        Raises:
            Invalid: the lists differ in length.
        """
        lists = (
            self.part_kind,
            self.part_name,
            self.part_source,
            self.part_label,
            self.part_score,
            self.part_reads,
            self.part_weight,
            self.part_at_least,
            self.part_judge,
            self.part_rubric,
        )
        if len({len(values) for values in lists}) > 1:
            raise Invalid("the rows of the rewards are incomplete")
        rows = (PartRow(*values) for values in zip(*lists, strict=True))
        return [row for row in rows if row.source.strip()]

    @property
    def shown_rows(self) -> list[PartRow]:
        """The rows that are filled in, and an empty one."""
        return [*self.rows, PartRow()]


def lists_of(parts: Sequence[RewardPart]) -> dict[str, list[str]]:
    """Return the lists of `PartRows` for the parts of a plan."""
    rows = [PartRow.of(part) for part in parts]
    return {
        "part_kind": [row.kind for row in rows],
        "part_name": [row.name for row in rows],
        "part_source": [row.source for row in rows],
        "part_label": [row.label for row in rows],
        "part_score": [row.score for row in rows],
        "part_reads": [row.reads for row in rows],
        "part_weight": [row.weight for row in rows],
        "part_at_least": [row.at_least for row in rows],
        "part_judge": [row.judge for row in rows],
        "part_rubric": [row.rubric for row in rows],
    }


def _shown(number: float) -> str:
    return str(number).removesuffix(".0")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Invalid(f"{what} must be a number, not {text!r}") from error
