"""TRL's preference rows: `chosen`, `rejected`, and `prompt` unless it is implicit.

Conversational rows hold lists of messages, the others texts. In texts, an empty line separates the
prompt from the response. An explicit prompt ends with it, because TRL concatenates the two as they
are. An implicit prompt is read back by cutting what both texts share at its last empty line, or at
its last space if there is none.

TRL's own `extract_prompt` (`huggingface/trl:trl/data_utils.py`) takes the longest common beginning:
whole messages of conversations, which is the prompt, but characters of texts. So implicit texts are
written only if the two responses differ from their first character on.

Responses to a follow-up are written with the turns that lead up to them: `chosen` and `rejected`
then begin with each model's own response to the first question.
"""

from collections.abc import Mapping

from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.hh import asks_the_same, shared_prompt
from app.formats.preference_pairs import chosen_and_rejected, conversation_pair, pair
from app.formats.records import Conversation, PreferenceRecord, Row, Turn, UnpairedRecord

_GAP = "\n\n"
BEGIN_ALIKE = (
    "the two responses begin alike, or one is empty, so TRL would not find where the prompt ends; "
    "trl-explicit-text and trl-implicit keep them"
)


def read(row: Row) -> list[PreferenceRecord]:
    """Read one preference in any of the four forms.

    The models that wrote the two completions are their sources if the row names them.
    """
    prompt, (chosen, rejected) = _prompt_and_responses(row)
    if isinstance(row["chosen"], list):
        prompt = fields.instructed(row, prompt)
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
    """Write a conversational row with an explicit prompt, the form for DPO."""
    chosen, rejected = conversation_pair(record)
    return {
        "prompt": fields.as_messages(record.messages),
        "chosen": fields.as_messages(chosen.turns),
        "rejected": fields.as_messages(rejected.turns),
        **_margin(record, margin),
    }


def write_implicit(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write two complete conversations, the form for reward models."""
    chosen, rejected = conversation_pair(record)
    return {
        "chosen": fields.as_messages([*record.messages, *chosen.turns]),
        "rejected": fields.as_messages([*record.messages, *rejected.turns]),
        **_margin(record, margin),
    }


def write_explicit_text(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write the prompt and the responses as texts. Raises Invalid for a conversation."""
    chosen, rejected = pair(record)
    prompt = fields.as_text(record.messages) + _GAP
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **_margin(record, margin)}


def write_implicit_text(record: PreferenceRecord, *, margin: bool = False) -> Row:
    """Write two complete texts.

    Raises Invalid for a conversation, and for responses from which TRL would extract another
    prompt: it takes everything that both texts share at the beginning.
    """
    chosen, rejected = pair(record)
    prompt = fields.as_text(record.messages) + _GAP
    if not (chosen and rejected) or chosen[0] == rejected[0]:
        raise Invalid(BEGIN_ALIKE)
    return {
        "chosen": prompt + chosen,
        "rejected": prompt + rejected,
        **_margin(record, margin),
    }


def write_unpaired(record: UnpairedRecord) -> Row:
    """Write a conversational row with a label, the form for KTO."""
    return {
        "prompt": fields.as_messages(record.messages),
        "completion": [_response(record.text)],
        "label": record.label,
    }


def write_unpaired_text(record: UnpairedRecord) -> Row:
    """Write a labeled row of texts. Raises Invalid for a conversation."""
    prompt = fields.as_text(record.messages) + _GAP
    return {"prompt": prompt, "completion": record.text, "label": record.label}


def _prompt_and_responses(
    row: Row,
) -> tuple[Conversation, tuple[str | Conversation, str | Conversation]]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if row.get("prompt") is not None:
            return text_prompt(row), (chosen, rejected)
        return _cut(chosen, rejected)
    chosen_turns = fields.messages(fields.items(row, "chosen"), "chosen")
    rejected_turns = fields.messages(fields.items(row, "rejected"), "rejected")
    if row.get("prompt") is None:
        return shared_prompt(chosen_turns, rejected_turns)
    prompt = fields.messages(row["prompt"], "prompt")
    if prompt and asks_the_same(chosen_turns, rejected_turns) and len(chosen_turns) > 1:
        # Also if both models gave the same first response, which is then no part of the prompt.
        return prompt, (chosen_turns, rejected_turns)
    # Some files have an explicit prompt and repeat it in both conversations.
    return shared_prompt(_with(prompt, chosen_turns), _with(prompt, rejected_turns))


def text_prompt(row: Row) -> Conversation:
    """Read a prompt, without the empty line that separates a text prompt from its response."""
    value = row.get("prompt")
    if isinstance(value, str) and value.endswith(_GAP):
        return (Turn("user", value.removesuffix(_GAP)),)
    return fields.prompt(row, "prompt")


def _with(prompt: Conversation, turns: Conversation) -> Conversation:
    return turns if turns[: len(prompt)] == prompt else prompt + turns


def _cut(chosen: str, rejected: str) -> tuple[Conversation, tuple[str, str]]:
    """Split two texts into the prompt that both start with and their responses."""
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
    return (Turn("user", shared[:end]),), (chosen[start:], rejected[start:])


def _response(text: str) -> Mapping[str, str]:
    return {"role": "assistant", "content": text}


def _margin(record: PreferenceRecord, wanted: bool) -> Row:
    return {"margin": record.margin} if wanted and record.margin is not None else {}


_MODELS = ("chosen_model", "rejected_model", "chosen-model", "rejected-model")
_FIELDS = (
    *("prompt", "instruction", "chosen", "rejected", "id", "prompt_id", "subset"),
    *_MODELS,
    *fields.MARGINS,
)

PREFERENCES = Format("trl", "TRL preferences", has("chosen", "rejected"), read, fields=_FIELDS)
REWARD_BENCH = Format(
    "reward-bench",
    "RewardBench pairs",
    has("prompt", "chosen", "rejected", "chosen_model", "rejected_model"),
    read,
    fields=_FIELDS,
)
