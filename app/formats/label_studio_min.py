"""Label Studio's JSON-MIN export: one row per annotation.

A row holds the fields of the task, the controls under the names in the labeling configuration, and
`annotator`, `annotation_id`, `lead_time` and times. The value of a pairwise or ranker control is a
list with one object, which holds `selected` or `ranker`.
"""

from app.errors import Invalid
from app.formats import fields, label_studio
from app.formats.format import Format, has
from app.formats.records import PreferenceRecord, Rejected, Row

_ABOUT = {"annotator", "annotation_id", "lead_time", "created_at", "updated_at", "agreement"}
_IS_ANNOTATION = has("annotation_id", "annotator")


def recognizes(row: Row) -> bool:
    """Whether the row is an annotation with a pairwise or ranker control."""
    return _IS_ANNOTATION(row) and bool(_controls(row))


def read(row: Row) -> list[PreferenceRecord | Rejected]:
    """Read one annotation: one judgment for each pairwise or ranker control."""
    controls = _controls(row)
    if not controls:
        raise Invalid("the annotation has no pairwise or ranker control")
    data = {key: value for key, value in row.items() if key not in {*controls, *_ABOUT}}
    labeler, name = fields.identifier(row, "annotator"), fields.identifier(row, "id")
    return [label_studio.judgment(data, value, labeler, name) for value in controls.values()]


def _controls(row: Row) -> dict[str, Row]:
    """Return the values of the pairwise and ranker controls by their names."""
    controls: dict[str, Row] = {}
    for name, value in row.items():
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict) and ("selected" in value or "ranker" in value):
            controls[name] = value
    return controls


FORMAT = Format(
    "label-studio-min",
    "Label Studio annotations, JSON-MIN",
    recognizes,
    read,
    fields=("id", "annotator", "annotation_id", *label_studio.DATA),
    also=_controls,
    needs=_IS_ANNOTATION,
)
