"""WebGPT comparisons: a question and two answers with scores given by people.

The scores range from -1 to 1 and sum to zero; equal scores are a tie. The margin is the difference.
"""

from app.domain.ranking import Ranking
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import CompletionText, PreferenceRecord, Row, Turn


def read(row: Row) -> list[PreferenceRecord]:
    """Read one comparison; the question is a string, or an object with `full_text`."""
    question = row.get("question")
    details: Row = question if isinstance(question, dict) else {"full_text": question}
    scores = [fields.number(row, key) for key in ("score_0", "score_1")]
    return [
        PreferenceRecord(
            (Turn("user", fields.text(details, "full_text")),),
            tuple(CompletionText(fields.text(row, key)) for key in ("answer_0", "answer_1")),
            Ranking.of_positions([-score for score in scores]),
            margin=abs(scores[0] - scores[1]),
            source_id=fields.identifier(details, "id"),
        )
    ]


FORMAT = Format(
    "webgpt",
    "WebGPT comparisons",
    has("question", "answer_0", "answer_1", "score_0", "score_1"),
    read,
    fields=("question", "answer_0", "answer_1", "score_0", "score_1"),
)
