"""TRL's preference rows: `chosen`, `rejected`, and `prompt` unless it is implicit.

Conversational rows hold lists of messages, the others texts. An empty line parts the prompt of a
text from its answer. An explicit prompt ends with it, because TRL joins the two as they are. An
implicit one is read back by cutting what both share at its last empty line, or its last space where
there is none.
"""

from collections.abc import Mapping

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.hh import shared_prompt
from app.formats.records import (
    Message,
    Messages,
    PreferenceRecord,
    Row,
    UnpairedRecord,
    chosen_and_rejected,
    pair,
)

_GAP = "\n\n"


def read(row: Row) -> list[PreferenceRecord]:
    """Read one preference of any of the four shapes.

    Models that wrote the two are their sources, where the row names them.
    """
    prompt, (chosen, rejected) = _answers(row)
    subset = fields.optional_text(row, "subset")
    return [
        chosen_and_rejected(
            prompt,
            chosen,
            rejected,
            sources=(
                fields.identifier(row, "chosen_model", "chosen-model"),
                fields.identifier(row, "rejected_model", "rejected-model"),
            ),
            margin=fields.margin(row),
            source_id=fields.identifier(row, "id", "prompt_id"),
            meta={} if subset is None else {"subset": subset},
        )
    ]


def write_explicit(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write a conversational row with its prompt, as DPO takes it."""
    chosen, rejected = pair(record)
    return {
        "prompt": fields.as_messages(record.messages),
        "chosen": [_answer(chosen)],
        "rejected": [_answer(rejected)],
        **_margin(record, margin),
    }


def write_implicit(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write two whole conversations, as reward models take them."""
    chosen, rejected = pair(record)
    prompt = fields.as_messages(record.messages)
    return {
        "chosen": [*prompt, _answer(chosen)],
        "rejected": [*prompt, _answer(rejected)],
        **_margin(record, margin),
    }


def write_explicit_text(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write prompt and answers as texts. Raises Invalid for a conversation."""
    chosen, rejected = pair(record)
    prompt = fields.as_text(record.messages) + _GAP
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **_margin(record, margin)}


def write_implicit_text(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write two whole texts. Raises Invalid for a conversation."""
    chosen, rejected = pair(record)
    prompt = fields.as_text(record.messages) + _GAP
    return {
        "chosen": prompt + chosen,
        "rejected": prompt + rejected,
        **_margin(record, margin),
    }


def write_unpaired(record: UnpairedRecord) -> Row:
    """Write a conversational row with a label, as KTO takes it."""
    return {
        "prompt": fields.as_messages(record.messages),
        "completion": [_answer(record.text)],
        "label": record.label,
    }


def write_unpaired_text(record: UnpairedRecord) -> Row:
    """Write a labelled row of texts. Raises Invalid for a conversation."""
    prompt = fields.as_text(record.messages) + _GAP
    return {"prompt": prompt, "completion": record.text, "label": record.label}


def _answers(row: Row) -> tuple[Messages, tuple[str, str]]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if row.get("prompt") is not None:
            return text_prompt(row), (chosen, rejected)
        return _cut(chosen, rejected)
    whole = fields.messages(fields.items(row, "chosen"), "chosen")
    other = fields.messages(fields.items(row, "rejected"), "rejected")
    if row.get("prompt") is None:
        return shared_prompt(whole, other)
    prompt = fields.messages(row["prompt"], "prompt")
    # Some files give the prompt and repeat it in both conversations.
    return shared_prompt(_with(prompt, whole), _with(prompt, other))


def text_prompt(row: Row) -> Messages:
    """Read a prompt, without the empty line that parts the text of one from its answer."""
    value = row.get("prompt")
    if isinstance(value, str) and value.endswith(_GAP):
        return (Message("user", value.removesuffix(_GAP)),)
    return fields.prompt(row, "prompt")


def _with(prompt: Messages, turns: Messages) -> Messages:
    return turns if turns[: len(prompt)] == prompt else prompt + turns


def _cut(chosen: str, rejected: str) -> tuple[Messages, tuple[str, str]]:
    """Cut two texts into the prompt both start with and their answers."""
    if chosen == rejected:
        raise Invalid("chosen and rejected are the same")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    shared = chosen[:same]
    gap = shared.rfind(_GAP)
    end, start = (gap, gap + len(_GAP)) if gap > 0 else (max(shared.rfind(" "), 0),) * 2
    if not shared[:end].strip():
        raise Invalid("chosen and rejected share no prompt")
    return (Message("user", shared[:end]),), (chosen[start:], rejected[start:])


def _answer(text: str) -> Mapping[str, str]:
    return {"role": "assistant", "content": text}


def _margin(record: PreferenceRecord, wanted: bool) -> Row:
    return {"margin": record.margin} if wanted and record.margin is not None else {}


_MODELS = ("chosen_model", "rejected_model", "chosen-model", "rejected-model")
_FIELDS = ("prompt", "chosen", "rejected", "id", "prompt_id", "subset", *_MODELS, *fields.MARGINS)

PREFERENCES = Format("trl", "TRL preferences", has("chosen", "rejected"), read, fields=_FIELDS)
REWARD_BENCH = Format(
    "reward-bench",
    "RewardBench pairs",
    has("prompt", "chosen", "rejected", "chosen_model", "rejected_model"),
    read,
    fields=_FIELDS,
)
