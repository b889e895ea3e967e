"""Answers as JSON: one model in and one out for each kind of judgment."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictInt

from app.domain.answers import (
    Body,
    EditBody,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
    WriteBody,
)


class PickIn(BaseModel):
    """The better of two by canonical position: `a` is position 0."""

    kind: Literal["pick"]
    preferred: Literal["a", "b", "tie"] | None = None
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    both_bad: bool = False


class RankIn(BaseModel):
    """The competition rank of each canonical position; null with `both_bad`: cannot be ranked."""

    kind: Literal["rank"]
    ranking: Annotated[list[int], Field(max_length=9)] | None = None
    both_bad: bool = False


class RateIn(BaseModel):
    """For each criterion the rating of each canonical position, 1 to the assignment's most."""

    kind: Literal["rate"]
    ratings: Annotated[
        dict[str, Annotated[list[StrictInt], Field(max_length=9)]], Field(max_length=100)
    ]


class ThumbsIn(BaseModel):
    """Up or down, maybe with some of the reasons that the assignment offers for it."""

    kind: Literal["thumbs"]
    thumb: Literal["up", "down"]
    reasons: Annotated[list[str], Field(max_length=8)] = []


class WriteIn(BaseModel):
    """Your own answer to the prompt, at most 64 KiB."""

    kind: Literal["write"]
    text: str


class EditIn(BaseModel):
    """A better version of the completion, at most 64 KiB."""

    kind: Literal["edit"]
    text: str


AnswerIn = Annotated[
    PickIn | RankIn | RateIn | ThumbsIn | WriteIn | EditIn, Field(discriminator="kind")
]


class PickOut(BaseModel):
    """A pick as it was given."""

    kind: Literal["pick"] = "pick"
    preferred: str | None
    strength: int | None
    both_bad: bool


class RankOut(BaseModel):
    """A ranking as it was given."""

    kind: Literal["rank"] = "rank"
    ranking: list[int] | None
    both_bad: bool


class RateOut(BaseModel):
    """Ratings as they were given."""

    kind: Literal["rate"] = "rate"
    ratings: dict[str, list[int]]


class ThumbsOut(BaseModel):
    """A thumb as it was given."""

    kind: Literal["thumbs"] = "thumbs"
    thumb: str
    reasons: list[str]


class WriteOut(BaseModel):
    """A text as it was written."""

    kind: Literal["write"] = "write"
    text: str


class EditOut(BaseModel):
    """A better version as it was written."""

    kind: Literal["edit"] = "edit"
    text: str


AnswerOut = PickOut | RankOut | RateOut | ThumbsOut | WriteOut | EditOut


def body_in(answer: AnswerIn) -> Body:
    """Return the answer for the service."""
    match answer:
        case PickIn():
            return PickBody(answer.preferred, answer.strength, answer.both_bad)
        case RankIn():
            ranking = None if answer.ranking is None else tuple(answer.ranking)
            return RankBody(ranking, answer.both_bad)
        case RateIn():
            return RateBody({name: tuple(given) for name, given in answer.ratings.items()})
        case ThumbsIn():
            return ThumbsBody(answer.thumb, tuple(answer.reasons))
        case WriteIn():
            return WriteBody(answer.text)
        case EditIn():
            return EditBody(answer.text)


def body_out(body: Body) -> AnswerOut:
    """Return an answer as it was given."""
    match body:
        case PickBody():
            return PickOut(preferred=body.preferred, strength=body.strength, both_bad=body.both_bad)
        case RankBody():
            ranking = None if body.ranking is None else list(body.ranking)
            return RankOut(ranking=ranking, both_bad=body.both_bad)
        case RateBody():
            return RateOut(ratings={name: list(given) for name, given in body.ratings.items()})
        case ThumbsBody():
            return ThumbsOut(thumb=body.thumb, reasons=list(body.reasons))
        case WriteBody():
            return WriteOut(text=body.text)
        case EditBody():
            return EditOut(text=body.text)
