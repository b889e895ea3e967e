"""Argilla records with a ranking question, as written by versions 1 and 2.

The question's options are matched to the record's fields by name, so that `response-1` is the field
`response_1`. Drafts and discarded responses are skipped.
"""

from collections.abc import Iterator, Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Row

_PROMPTS = ("prompt", "instruction", "question", "input", "context", "text")


def read(row: Row) -> list[PreferenceRecord]:
    """Read a record: one judgment for each submitted ranking."""
    texts, name = fields.inner(row, "fields"), fields.identifier(row, "id", "external_id")
    prompt = fields.prompt(texts, *_PROMPTS)
    records = []
    for labeler, value in _submitted(row):
        places = _places(value)
        candidates = tuple(CompletionText(_option(texts, option)) for option in places)
        ranking = Ranking.of_positions(list(places.values()))
        records.append(PreferenceRecord(prompt, candidates, ranking, labeler, source_id=name))
    if not records:
        raise Invalid("the record has no submitted ranking")
    return records


def _submitted(row: Row) -> Iterator[tuple[str | None, list[object]]]:
    """Yield the labeler and the value of each submitted ranking."""
    responses = row.get("responses")
    if isinstance(responses, list):  # version 1: each response covers all questions
        for response in fields.objects(row, "responses"):
            for value in fields.inner(response, "values").values():
                yield from _ranking(response, value)
    elif isinstance(responses, Mapping):  # version 2: each question lists all responses
        for question in responses:
            for response in fields.objects(responses, question):
                yield from _ranking(response, response)
    else:
        raise Invalid(f"'responses' must be a list or an object, not {fields.kind(responses)}")


def _ranking(response: Row, holder: object) -> Iterator[tuple[str | None, list[object]]]:
    value = holder.get("value") if isinstance(holder, Mapping) else None
    if response.get("status", "submitted") == "submitted" and isinstance(value, list):
        yield fields.identifier(response, "user_id"), value


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


FORMAT = Format("argilla", "Argilla rankings", has("fields", "responses"), read)
