"""Where a model's files come from, and what to do when they cannot be had.

A missing folder, an unknown name or an unreachable hub stays so however often a job is repeated, so
each is refused with a sentence that says what helps. A full disk, in contrast, may pass.
"""

import errno
from collections.abc import Iterator
from typing import Final

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError

from app.errors import Invalid
from worker.rlhf.core.parallel import Held
from worker.rlhf.model import chat_options, models, precision
from worker.rlhf.model.chat_options import ChatOptions
from worker.rlhf.model.models import LoadedModel
from worker.training.model_folders import first_line

LASTING: Final = (None, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP)
"""Error numbers that a retry does not change; the library's own errors have none."""


def load(
    name: str,
    *,
    device: torch.device | str = "cpu",
    four_bit: bool = False,
    in_full: bool = False,
    held: Held = "device",
    chat: ChatOptions = chat_options.DEFAULT,
) -> LoadedModel:
    """Load a whole model by its path or hub name; `in_full` if all of its weights are trained.

    `held` says where its weights are put, for processes that divide it.

    Raises:
        Invalid: it is not there or is of no use, and stays so; the message names it.
        OSError: reading it failed for a reason that may pass.
    """
    precision.use_tensor_cores(device)
    dtype = torch.float32 if in_full else None
    try:
        return models.load(
            name, dtype=dtype, device=device, four_bit=four_bit, held=held, chat=chat
        )
    except (ValueError, SafetensorError) as error:
        raise Invalid(f"the model {name} cannot be loaded: {reason(error, name)}") from error
    except OSError as error:
        if error.errno not in LASTING:
            raise
        raise Invalid(f"the model {name} cannot be loaded: {reason(error, name)}") from error


def reason(error: Exception, name: str) -> str:
    """Return why a model's files cannot be had, with what helps; else the error's first line."""
    return next(_sentences(error, name), None) or first_line(error)


def _sentences(error: Exception, name: str) -> Iterator[str]:
    causes = tuple(_chain(error))
    if any(isinstance(cause, HFValidationError) for cause in causes):
        if name.startswith(("/", ".", "~")):
            yield f"there is no folder {name} on this worker's machine"
        yield (
            f"{name!r} is neither a folder on this worker's machine nor a hub name such as "
            "Qwen/Qwen3-0.6B"
        )
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        yield (
            "the hub gives it only to accounts that have accepted its terms; accept them there, "
            "and set HF_TOKEN in the environment of the worker"
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        yield (
            f"this worker's machine has no folder {name}, and the hub shows it no model of that "
            "name; check the spelling, or set HF_TOKEN in the environment of the worker if the "
            "model is private"
        )
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        yield _unreachable(causes, name)
    if any(isinstance(cause, SafetensorError) for cause in causes):
        yield (
            f"a file of its weights is damaged or was not copied whole ({first_line(error)}); copy "
            "it again"
        )


def _unreachable(causes: tuple[BaseException, ...], name: str) -> str:
    response = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    hub = "the hub cannot be reached from it" if response is None else "the hub has an error"
    return (
        f"this worker's machine has neither a folder {name} nor the model in its hub cache, and "
        f"{hub}; copy the model into a folder there and give its path, or try again once the hub "
        "responds"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
