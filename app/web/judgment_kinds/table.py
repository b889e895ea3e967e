"""The table of the kinds of judgment on the web side; a new kind is a module and a row here."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter

from app.domain.judgment_kinds import JudgmentBody, JudgmentKind, kind_named
from app.web.judgment_kinds.kind import NUMBERS, JudgmentForm, PageKind
from app.web.judgment_kinds.pick import PICK, PickIn, PickOut
from app.web.judgment_kinds.rank import RANK, RankIn, RankOut
from app.web.judgment_kinds.rate import RATE, RateIn, RateOut
from app.web.judgment_kinds.text import EDIT, WRITE, EditIn, EditOut, WriteIn, WriteOut
from app.web.judgment_kinds.thumbs import THUMBS, ThumbsIn, ThumbsOut

PAGE_KINDS: Mapping[JudgmentKind, PageKind] = {
    kind.name: kind for kind in (PICK, RANK, RATE, THUMBS, WRITE, EDIT)
}

# Unions of classes, so that OpenAPI lists the fields of each kind.
AnyJudgmentIn = Annotated[
    PickIn | RankIn | RateIn | ThumbsIn | WriteIn | EditIn, Field(discriminator="kind")
]
AnyJudgmentOut = PickOut | RankOut | RateOut | ThumbsOut | WriteOut | EditOut
_OUT: TypeAdapter[AnyJudgmentOut] = TypeAdapter(
    Annotated[AnyJudgmentOut, Field(discriminator="kind")]
)


def body_of_form(form: JudgmentForm) -> JudgmentBody:
    """Return the judgment that a form gives.

    Raises:
        Invalid: a field has a value that the page does not offer, or the form is incomplete.
    """
    return PAGE_KINDS[kind_named(form.kind)].parse(form)


def judgment_out(body: JudgmentBody) -> AnyJudgmentOut:
    """Return a judgment as JSON goes out."""
    return _OUT.validate_python({"kind": str(body.kind), **body.to_json()})


def in_words(body: JudgmentBody, order: Sequence[int], names: str = NUMBERS) -> str:
    """Describe a judgment; `order` holds the canonical positions in the order of the names."""
    return judgment_out(body).words(dict(zip(order, names, strict=False)))
