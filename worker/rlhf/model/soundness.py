"""Whether the files of a model belong together and are whole; transformers loads them regardless.

A weight that is missing is drawn at random there, one that is not a number spreads to all others,
and a tokenizer of another model gives ids without an embedding: trainings of such a model end with
nothing, some after hours.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

NAMED_MOST: Final = 3


class UnsoundFiles(ValueError):
    """The files of a model are not whole, or do not belong together; its type is not to blame."""


def quantization(config: PretrainedConfig) -> str | None:
    """Return how the weights of a model are stored if it is in a quantized form, else None."""
    stored: Any = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    method = stored.get("quant_method") if isinstance(stored, Mapping) else stored.quant_method
    return str(getattr(method, "value", method) or "an unknown method")


def refuse_incomplete(missing: Collection[str], mismatched: Iterable[Any]) -> None:
    """Refuse weights that were not in the files, or had another shape there.

    Args:
        missing: the names of the weights that the files lack.
        mismatched: names with both shapes, as transformers gives them, or names alone.

    Raises:
        UnsoundFiles: naming the first of them.
    """
    if missing:
        raise UnsoundFiles(
            f"its files lack {_listed(missing)}; the model would start with random values there"
        )
    others = [one if isinstance(one, str) else str(one[0]) for one in mismatched]
    if others:
        raise UnsoundFiles(f"its files give another shape than config.json to {_listed(others)}")


@torch.no_grad()
def refuse_not_finite(weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are not numbers or infinite.

    Raises:
        UnsoundFiles: naming the first of them.
    """
    broken = [
        name
        for name, weight in weights
        if weight.is_floating_point() and weight.numel() and not _is_finite(weight)
    ]
    if broken:
        raise UnsoundFiles(f"its files hold values that are no finite numbers in {_listed(broken)}")


def refuse_other_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Refuse a tokenizer that gives ids for which the model has no embedding.

    A special token that the chat template does not write can be without one, such as a padding
    token that somebody added: no text becomes it.

    Raises:
        UnsoundFiles: naming the first token and both numbers.
    """
    beyond = {token: id for token, id in tokenizer.get_vocab().items() if id >= rows}
    for added in tokenizer.added_tokens_decoder.values():
        if added.special and added.content not in str(tokenizer.chat_template or ""):
            beyond.pop(added.content, None)
    if beyond:
        first = min(beyond, key=lambda token: beyond[token])
        raise UnsoundFiles(
            f"its tokenizer has {len(beyond):,} tokens without an embedding, from {first!r} "
            f"({beyond[first]}) on: the model has {rows:,} embeddings; is it the tokenizer of "
            "another model, or were tokens added without resizing the embeddings?"
        )


def _is_finite(weight: torch.Tensor) -> bool:
    if weight.element_size() == 1:  # there are hardly any operations in fp8
        weight = weight.to(torch.bfloat16)
    least, most = weight.aminmax()  # a value that is not a number becomes both
    return bool(torch.isfinite(least) & torch.isfinite(most))


def _listed(names: Collection[str]) -> str:
    """Return the first names, and the number of the others."""
    shown = sorted(names)[:NAMED_MOST]
    more = len(names) - len(shown)
    others = f" and {more} other weights" if more else ""
    return f"the weights {', '.join(shown)}{others}" if len(names) > 1 else f"the weight {shown[0]}"
