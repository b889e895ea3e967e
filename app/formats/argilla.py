"""Argilla records with a ranking question, as version 1 and version 2 write them.

The question's options are matched with the record's fields by name, so `response-1` is the field
`response_1`. Drafts and discarded responses are left out.
"""

from collections.abc import Iterator, Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import Candidate, PreferenceRecord, Rejected, Row

_PROMPTS = ("prompt", "instruction", "question", "input", "context", "text")


def read(row: Row) -> list[PreferenceRecord | Rejected]:
    """Read a record: a judgment for each submitted answer to a ranking question.

    Answers to rating questions are not read, and each is rejected by name.
    """
    texts, name = fields.inner(row, "fields"), fields.identifier(row, "id", "external_id")
    prompt = fields.prompt(texts, *_PROMPTS)
    judgments: list[PreferenceRecord | Rejected] = []
    unread: list[Rejected] = []
    for question, labeler, value in _answers(row):
        if isinstance(value, list):
            places = _places(value)
            candidates = tuple(Candidate(_option(texts, option)) for option in places)
            ranking = Ranking.of_positions(list(places.values()))
            judgments.append(PreferenceRecord(prompt, candidates, ranking, labeler, source_id=name))
        elif isinstance(value, int):
            unread.append(Rejected(0, f"the rating {question!r} is not read"))
    if not judgments:
        raise Invalid("the record has no submitted ranking")
    return [*judgments, *unread]


def _answers(row: Row) -> Iterator[tuple[str, str | None, object]]:
    """Yield the question, the labeler and the value of each answer that was submitted."""
    responses = row.get("responses")
    if isinstance(responses, list):  # version 1: a response holds answers to all questions
        for response in fields.objects(row, "responses"):
            for question, answer in fields.inner(response, "values").items():
                yield from _answer(question, response, answer)
    elif isinstance(responses, Mapping):  # version 2: a question holds all responses
        for question in responses:
            for response in fields.objects(responses, question):
                yield from _answer(question, response, response)
    else:
        raise Invalid(f"'responses' must be a list or an object, not {fields.kind(responses)}")


def _answer(
    question: str, response: Row, answer: object
) -> Iterator[tuple[str, str | None, object]]:
    value = answer.get("value") if isinstance(answer, Mapping) else None
    if response.get("status", "submitted") == "submitted":
        yield question, fields.identifier(response, "user_id"), value


def _places(value: list[object]) -> dict[str, int]:
    """Read {rank, value} objects, or names from best to worst."""
    places: dict[str, int] = {}
    for at, option in enumerate(value, 1):
        if isinstance(option, Mapping):
            name, place = fields.text(option, "value"), fields.whole(option, "rank")
        else:
            name, place = str(option), at
        if name in places:
            raise Invalid(f"ranking names completion {name} twice")
        places[name] = place
    # Canonical order is by name, so that every labeler's answer lists the completions alike.
    return dict(sorted(places.items()))


def _option(texts: Row, option: str) -> str:
    for key in texts:
        if _plain(key) == _plain(option):
            return fields.text(texts, key)
    raise Invalid(f"the ranking names {option!r}, which is no field of the record")


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
