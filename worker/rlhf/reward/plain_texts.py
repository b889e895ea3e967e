"""Texts as token ids that say them exactly, so that rewards score responses of unknown models.

Rewards read what a policy sampled: token ids and its tokenizer. A text that no model here has
written is given to them as its UTF-8 bytes, with a tokenizer of one token per byte.
"""

from typing import Final

from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

_END: Final = "<end of text>"


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer that reads the ids of `ids_of`."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    inner = Tokenizer(BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token=_END
    )


def ids_of(text: str, end: int | None = None) -> tuple[int, ...]:
    """Return the ids of a text, and the id of the end if it ended by itself."""
    ids = tuple(text.encode("utf-8", errors="replace"))
    return ids if end is None else (*ids, end)
