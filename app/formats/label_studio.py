"""Label Studio's JSON export of pairwise and ranker tasks.

The names of the fields in `data` depend on each project's labeling configuration, so the usual
names are tried. A ranker has one of three shapes: an ordered list; buckets, listed best first,
whose items are tied with each other; and buckets with a `_` list of items that were not placed,
which are left out.
"""

from collections.abc import Mapping

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, Conversation, PreferenceRecord, Rejected, Row

_PROMPTS = ("prompt", "question", "instruction", "input", "context", "text")
_SIDES = (
    ("answer1", "answer2"),
    ("response1", "response2"),
    ("text1", "text2"),
    ("completion1", "completion2"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
    ("left", "right"),
)
DATA = (*_PROMPTS, *(side for sides in _SIDES for side in sides), "items")
"""The recognized fields of a task's data; a list of items may have any name."""
_UNPLACED = "_"
# Other controls that hold judgments. They are not supported, so each is reported as rejected.
_JUDGING = ("choices", "rating", "number", "taxonomy")


def read(row: Row) -> list[PreferenceRecord | Rejected]:
    """Read a task: one judgment for each annotation that was not cancelled."""
    data, name = fields.inner(row, "data"), fields.identifier(row, "id")
    judgments: list[PreferenceRecord] = []
    unread: list[PreferenceRecord | Rejected] = []
    for annotation in fields.objects(row, "annotations"):
        if annotation.get("was_cancelled"):
            continue
        for result in fields.objects(annotation, "result"):
            if result.get("type") in ("pairwise", "ranker"):
                value = fields.inner(result, "value")
                judgments.append(judgment(data, value, _labeler(annotation), name))
            elif result.get("type") in _JUDGING:
                control = result.get("from_name") or "without a name"
                unread.append(Rejected(0, f"the {result['type']} {control} is not supported"))
    if not judgments:
        raise Invalid("the task has no pairwise or ranker annotation")
    return [*judgments, *unread]


def judgment(data: Row, value: Row, labeler: str | None, name: str | None) -> PreferenceRecord:
    """Read the value of a pairwise or ranker control, with the data of its task."""
    candidates, ranking = _ranker(data, value) if "ranker" in value else _pairwise(data, value)
    prompt: Conversation = fields.prompt(data, *_PROMPTS)
    return PreferenceRecord(prompt, candidates, ranking, labeler, source_id=name)


def _pairwise(data: Row, value: Row) -> tuple[tuple[CompletionText, ...], Ranking]:
    selected = value.get("selected")
    if selected not in ("left", "right"):
        raise Invalid(f"'selected' must be left or right, not {selected!r}")
    for sides in _SIDES:
        if all(side in data for side in sides):
            texts = tuple(CompletionText(fields.text(data, side)) for side in sides)
            return texts, Ranking((1, 2) if selected == "left" else (2, 1))
    raise Invalid("the task has no pair of texts with names such as answer1 and answer2")


def _ranker(data: Row, value: Row) -> tuple[tuple[CompletionText, ...], Ranking]:
    items = _items(data)
    groups = _groups(value.get("ranker"))
    placed = [name for group in groups for name in group]
    for name in placed:
        if name not in items:
            raise Invalid(f"the ranker names item {name}, but the task has no such item")
    ranking = Ranking.of_groups(groups, [name for name in items if name in placed])
    return tuple(CompletionText(text) for name, text in items.items() if name in placed), ranking


def _groups(ranker: object) -> list[list[str]]:
    if isinstance(ranker, Mapping):
        columns = [_names(ids) for key, ids in ranker.items() if key != _UNPLACED]
        return columns if len(columns) > 1 else [[name] for ids in columns for name in ids]
    return [[name] for name in _names(ranker)]


def _names(ids: object) -> list[str]:
    if not isinstance(ids, list):
        raise Invalid(f"a ranker must hold lists of items, not {fields.kind(ids)}")
    return [str(name) for name in ids]


def _items(data: Row) -> dict[str, str]:
    """Return the texts of the task's items by their ids."""
    for value in data.values():
        if isinstance(value, list) and value and all(_is_item(item) for item in value):
            return {str(item["id"]): _item_text(item) for item in value}
    raise Invalid("the task has no list of items with ids")


def _is_item(item: object) -> bool:
    return isinstance(item, Mapping) and "id" in item


def _item_text(item: Row) -> str:
    for key in ("body", "html", "text", "title"):
        if item.get(key) is not None:
            return fields.text(item, key)
    raise Invalid(f"item {item['id']} has no text")


def _labeler(annotation: Row) -> str | None:
    by = annotation.get("completed_by")
    if isinstance(by, Mapping):
        return fields.identifier(by, "id")
    return fields.identifier(annotation, "completed_by")


FORMAT = Format(
    "label-studio",
    "Label Studio tasks",
    has("data", "annotations"),
    read,
    fields=("data", "annotations", "id"),
    ignores={"predictions": "what a model predicted, not what a labeler said"},
)
