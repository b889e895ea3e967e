"""The chat template of encoder–decoder models that have none: bare texts."""

from transformers import PreTrainedTokenizerBase

BARE_CHAT_TEMPLATE = (
    "{before}{{% for message in messages %}}"
    "{{{{ message['content'] }}}}{{% if not loop.last %}}{{{{ '\\n\\n' }}}}{{% endif %}}"
    "{{% endfor %}}{after}"
)
"""For an encoder: the texts of the messages, between the tokens it expects around a text."""


def make(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a chat template for an encoder–decoder model that has none: the bare texts.

    Instruction-tuned encoder–decoders such as FLAN-T5 read an instruction and a text, without names
    of speakers. The tokens that the tokenizer puts around a text are part of the template.
    """
    ids: list[int] = tokenizer("a")["input_ids"]
    inner: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    start = next(n for n in range(len(ids)) if ids[n : n + len(inner)] == inner)
    before, after = (
        "".join(tokenizer.convert_ids_to_tokens(part))
        for part in (ids[:start], ids[start + len(inner) :])
    )
    return BARE_CHAT_TEMPLATE.format(before=before, after=after)
