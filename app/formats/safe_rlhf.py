"""PKU-SafeRLHF: two responses, judged on two criteria that may disagree.

The more helpful response (`better_response_id`) is the preference. The safer one
(`safer_response_id`), and whether each response is safe, become ratings on the criterion "safety":
1 and 2 mean unsafe, 3 and 4 safe, and the safer of the two has the even rating. If the row does not
say whether they are safe, the safer response has 3 and the other 2. No judgment is lost, and the
weight of the criterion decides how much safety counts.
"""

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import (
    ComparisonRecord,
    CompletionText,
    PreferenceRecord,
    Row,
    VoteRecord,
)

SAFETY = "safety"
_SCALE = (1, 4)
_IS_SAFE = ("is_response_0_safe", "is_response_1_safe")


def read(row: Row) -> list[PreferenceRecord | ComparisonRecord]:
    """Read both judgments of a pair; a row may have only one of them."""
    prompt = fields.prompt(row, "prompt")
    candidates = tuple(
        CompletionText(
            fields.text(row, f"response_{n}"), fields.identifier(row, f"response_{n}_source")
        )
        for n in (0, 1)
    )
    source = fields.optional_text(row, "prompt_source")
    notes = {} if source is None else {"prompt_source": source}
    records: list[PreferenceRecord | ComparisonRecord] = []
    if row.get("better_response_id") is not None:
        better = _side(row, "better_response_id")
        ranking = Ranking((1, 2) if better == 0 else (2, 1))
        records.append(PreferenceRecord(prompt, candidates, ranking, meta=notes))
    if (ratings := _safety(row)) is not None:
        vote = VoteRecord("", None, ratings={SAFETY: ratings})
        records.append(
            ComparisonRecord(
                prompt, candidates, (vote,), kind="rate", meta=notes, scales={SAFETY: _SCALE}
            )
        )
    if not records:
        raise Invalid("the row has no 'better_response_id' and no 'safer_response_id'")
    return records


def _safety(row: Row) -> tuple[int, int] | None:
    """Return both ratings, from 1 to 4, or None if the row has no judgment of safety."""
    safer = None if row.get("safer_response_id") is None else _side(row, "safer_response_id")
    if all(row.get(key) is None for key in _IS_SAFE):
        return None if safer is None else ((3, 2) if safer == 0 else (2, 3))
    is_safe = [fields.truth(row, key) for key in _IS_SAFE]
    if safer is None:
        return (4 if is_safe[0] else 1), (4 if is_safe[1] else 1)
    if is_safe[1 - safer] and not is_safe[safer]:
        raise Invalid("'safer_response_id' names the response that is not safe")
    first, second = (2 * is_safe[side] + (2 if side == safer else 1) for side in (0, 1))
    return first, second


def _side(row: Row, key: str) -> int:
    side = fields.whole(row, key)
    if side not in (0, 1):
        raise Invalid(f"{key!r} must be 0 or 1, not {side}")
    return side


_HARM = "kind and severity of the harm; the judgments of safety are used"

FORMAT = Format(
    "safe-rlhf",
    "PKU-SafeRLHF pairs",
    has("prompt", "response_0", "response_1", ("better_response_id", "safer_response_id")),
    read,
    fields=(
        *("prompt", "prompt_source", "response_0", "response_1"),
        *("response_0_source", "response_1_source", "better_response_id", "safer_response_id"),
        *_IS_SAFE,
    ),
    ignores=dict.fromkeys(
        (
            *("response_0_harm_category", "response_1_harm_category"),
            *("response_0_severity_level", "response_1_severity_level"),
        ),
        _HARM,
    ),
)
