"""LLaMA-Factory's ranking data sets in Alpaca and ShareGPT form, with `dataset_info.json`."""

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.preference_pairs import chosen_and_rejected, pair
from app.formats.records import Conversation, PreferenceRecord, Row, Turn

_NAMES = {"user": "human", "assistant": "gpt"}
_HAS_ALPACA = has("instruction", "chosen", "rejected")
_ROLES = {name: role for role, name in _NAMES.items()}


def read_alpaca(row: Row) -> list[PreferenceRecord]:
    """Read an instruction with a chosen and a rejected response."""
    parts = [fields.text(row, "instruction"), fields.optional_text(row, "input") or ""]
    user_turn = Turn("user", "\n\n".join(part for part in parts if part.strip()))
    chosen, rejected = fields.text(row, "chosen"), fields.text(row, "rejected")
    turns = (*_system(row), user_turn)
    return [chosen_and_rejected(turns, chosen, rejected, margin=fields.margin(row))]


def read_sharegpt(row: Row) -> list[PreferenceRecord]:
    """Read a conversation with a chosen and a rejected last turn."""
    turns = tuple(_turn(turn) for turn in fields.objects(row, "conversations"))
    chosen = _turn(fields.inner(row, "chosen"))
    rejected = _turn(fields.inner(row, "rejected"))
    responses = (chosen.content, rejected.content)
    return [chosen_and_rejected((*_system(row), *turns), *responses, margin=fields.margin(row))]


def write_alpaca(record: PreferenceRecord) -> Row:
    """Write one row. Raises Invalid for a conversation of several turns."""
    chosen, rejected = pair(record)
    system, turns = _split(record.messages)
    prompt: Row = {"instruction": fields.as_text(turns), "input": ""}
    return {**system, **prompt, "chosen": chosen, "rejected": rejected}


def write_sharegpt(record: PreferenceRecord) -> Row:
    """Write one row. Raises Invalid unless the turns alternate, starting with the user's."""
    chosen, rejected = pair(record)
    system, turns = _split(record.messages)
    for n, turn in enumerate(turns):
        if turn.role != ("user", "assistant")[n % 2]:
            raise Invalid("the turns of a ShareGPT row must alternate, starting with the user's")
    return {
        **system,
        "conversations": [{"from": _NAMES[turn.role], "value": turn.content} for turn in turns],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
    }


def dataset_info(name: str, file_name: str, *, sharegpt: bool) -> Row:
    """Return the entry that describes a file to LLaMA-Factory."""
    common = {"chosen": "chosen", "rejected": "rejected", "system": "system"}
    if sharegpt:
        columns = {"messages": "conversations", **common}
        return {
            name: {
                "file_name": file_name,
                "formatting": "sharegpt",
                "ranking": True,
                "columns": columns,
            }
        }
    columns = {"prompt": "instruction", "query": "input", **common}
    return {name: {"file_name": file_name, "ranking": True, "columns": columns}}


def _is_alpaca(row: Row) -> bool:
    """Whether a row has an instruction and two texts; with conversations it is one of TRL's."""
    return _HAS_ALPACA(row) and not isinstance(row["chosen"], list)


def _split(messages: Conversation) -> tuple[Row, Conversation]:
    """Separate the system turn; every row has the column, empty if there is no system turn."""
    if messages[0].role == "system":
        return {"system": messages[0].content}, messages[1:]
    return {"system": ""}, messages


def _system(row: Row) -> Conversation:
    text = fields.optional_text(row, "system")
    return (Turn("system", text),) if text else ()


def _turn(row: Row) -> Turn:
    speaker = fields.text(row, "from")
    if speaker not in _ROLES:
        raise Invalid(f"'from' must be human or gpt, not {speaker!r}")
    return Turn(_ROLES[speaker], fields.text(row, "value"))


ALPACA = Format(
    "llama-factory-alpaca",
    "LLaMA-Factory rankings, Alpaca",
    _is_alpaca,
    read_alpaca,
    fields=("instruction", "input", "system", "chosen", "rejected", *fields.MARGINS),
    needs=_HAS_ALPACA,
)
SHAREGPT = Format(
    "llama-factory-sharegpt",
    "LLaMA-Factory rankings, ShareGPT",
    has("conversations", "chosen", "rejected"),
    read_sharegpt,
    fields=("conversations", "system", "chosen", "rejected", *fields.MARGINS),
)
