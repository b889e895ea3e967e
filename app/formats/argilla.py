"""Argilla records with a ranking question, as written by versions 1 and 2.

The question's options are matched to the record's fields by name, so that `response-1` is the field
`response_1`. Drafts and discarded responses are skipped.
"""

from collections.abc import Iterator, Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Rejected, Row

_PROMPTS = ("prompt", "instruction", "question", "input", "context", "text")


def read(row: Row) -> list[PreferenceRecord | Rejected]:
    """Read a record: one judgment for each submitted ranking.

    Ratings are not supported; each is reported as a rejected row.
    """
    texts, name = fields.inner(row, "fields"), fields.identifier(row, "id", "external_id")
    prompt = fields.prompt(texts, *_PROMPTS)
    judgments: list[PreferenceRecord | Rejected] = []
    unread: list[Rejected] = []
    for question, labeler, value in _submitted(row):
        if isinstance(value, list):
            places = _places(value)
            candidates = tuple(CompletionText(_option(texts, option)) for option in places)
            ranking = Ranking.of_positions(list(places.values()))
            judgments.append(PreferenceRecord(prompt, candidates, ranking, labeler, source_id=name))
        elif isinstance(value, int):
            unread.append(Rejected(0, f"the rating {question!r} is not supported"))
    if not judgments:
        raise Invalid("the record has no submitted ranking")
    return [*judgments, *unread]


def _submitted(row: Row) -> Iterator[tuple[str, str | None, object]]:
    """Yield the question, the labeler and the value of each submitted response."""
    responses = row.get("responses")
    if isinstance(responses, list):  # version 1: each response covers all questions
        for response in fields.objects(row, "responses"):
            for question, holder in fields.inner(response, "values").items():
                yield from _value(question, response, holder)
    elif isinstance(responses, Mapping):  # version 2: each question lists all responses
        for question in responses:
            for response in fields.objects(responses, question):
                yield from _value(question, response, response)
    else:
        raise Invalid(f"'responses' must be a list or an object, not {fields.kind(responses)}")


def _value(
    question: str, response: Row, holder: object
) -> Iterator[tuple[str, str | None, object]]:
    value = holder.get("value") if isinstance(holder, Mapping) else None
    if response.get("status", "submitted") == "submitted":
        yield question, fields.identifier(response, "user_id"), value


def _places(value: list[object]) -> dict[str, int]:
    """Read the ranks from {rank, value} objects, or from names listed best first."""
    places: dict[str, int] = {}
    for position, option in enumerate(value, 1):
        if isinstance(option, Mapping):
            name, place = fields.text(option, "value"), fields.whole(option, "rank")
        else:
            name, place = str(option), position
        if name in places:
            raise Invalid(f"the ranking names completion {name} twice")
        places[name] = place
    # The canonical order is by name, so that all judgments list the completions in the same order.
    return dict(sorted(places.items()))


def _option(texts: Row, option: str) -> str:
    for key in texts:
        if _plain(key) == _plain(option):
            return fields.text(texts, key)
    raise Invalid(f"the ranking names {option!r}, but the record has no such field")


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


FORMAT = Format(
    "argilla",
    "Argilla rankings",
    has("fields", "responses"),
    read,
    fields=("fields", "responses", "id", "external_id"),
    ignores={
        "suggestions": "what a model suggested, not what a labeler said",
        "metadata": "notes on the record, not judgments of its responses",
    },
)
