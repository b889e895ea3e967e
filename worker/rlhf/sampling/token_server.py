"""An OpenAI-compatible server that takes adapters and returns token ids, as vLLM does.

Its completions can be trained on: the prompt is sent as token ids, and the sampled ids come back
with their log-probabilities. What comes back is checked, since a server that adds a token, stops
elsewhere or shortens a response would be learned from. Adapters are loaded by name from a folder
that the server sees too. When to publish, and how long to wait for a lost server, is decided by
`served_policy`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from worker.rlhf.core.examples import FinishReason, PromptItem, SampledCompletion
from worker.rlhf.model import template
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import (
    MAX_ERROR_CHARACTERS,
    RETRIED,
    ServerConfig,
    ServerUnavailable,
    seed_of,
)

NO_ROUTE: Final = "Not Found"
"""What a server says of an address that it does not know, as opposed to an unknown adapter."""


UNLOAD_TIMEOUT_S: Final = 10.0
"""A run that ends does not wait for longer."""


class AdapterMissing(LookupError):
    """The server is there, but does not know the adapter, as after a restart."""


class UnusableServer(ValueError):
    """The server refused a request, or returns what cannot be used; waiting does not help."""


class AdapterFailed(UnusableServer):
    """The server reported an error of its own when it loaded an adapter; it may be ending."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the server lists it; `root` is the folder of an adapter."""

    name: str
    root: str


class TokenServer:
    """Samples token ids from a server, and loads adapters into it. Threads may share it.

    Args:
        config: address and settings of the server; `model` is its name for the base.
        loaded: the base model here, whose vocabulary and ends the server must share.
        transport: replaces the network in tests.
    """

    def __init__(
        self,
        config: ServerConfig,
        loaded: LoadedModel,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.config, self._loaded = config, loaded
        self._vocabulary = int(loaded.model.config.get_text_config().vocab_size)
        headers = {} if config.api_key is None else {"Authorization": f"Bearer {config.api_key}"}
        self._client = httpx.Client(
            headers=headers,
            timeout=config.timeout_s,
            transport=transport,
            limits=httpx.Limits(max_connections=config.concurrency + 1),
        )

    def close(self) -> None:
        """Close the connections; requests in flight fail."""
        self._client.close()

    def models(self) -> list[ServedModel]:
        """Return the base model and the adapters that the server knows.

        Raises:
            ServerUnavailable: it did not respond.
            UnusableServer: it does not list its models, or not the base.
        """
        response = self._send("GET", "/models")
        try:
            entries = response.json()["data"]
            served = [ServedModel(str(one["id"]), str(one.get("root") or "")) for one in entries]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableServer(
                f"{self.config.url} does not list its models: {_text(response)}"
            ) from error
        if self.config.model not in [model.name for model in served]:
            names = ", ".join(model.name for model in served) or "none"
            raise UnusableServer(
                f"{self.config.url} does not serve {self.config.model!r}; its models: {names}"
            )
        return served

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter from a folder under a new name.

        Raises:
            ServerUnavailable: the server did not respond.
            AdapterFailed: it had an error of its own.
            UnusableServer: it takes no adapters, or refused this one.
        """
        body = {"lora_name": name, "lora_path": str(folder)}
        response = self._send("POST", "/load_lora_adapter", body, retried=RETRIED - {500})
        if not response.is_error:
            return
        if _is_unknown_address(response):
            raise UnusableServer(
                f"{self.config.url} takes no adapters: start it with --enable-lora, and with "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
            )
        kind = AdapterFailed if response.status_code >= 500 else UnusableServer
        raise kind(
            f"{self.config.url} cannot load the adapter in {folder} (status "
            f"{response.status_code}: {_text(response)}); it must see that folder under the same "
            "path, and take adapters of that rank"
        )

    def unload(self, name: str) -> bool:
        """Unload an adapter; return False if the server does not know it, or does not respond."""
        try:
            response = self._send(
                "POST", "/unload_lora_adapter", {"lora_name": name}, timeout_s=UNLOAD_TIMEOUT_S
            )
        except ServerUnavailable:
            return False
        return not response.is_error

    def complete(
        self, model: str, prompt: PromptItem, index: int, config: SamplingConfig
    ) -> SampledCompletion:
        """Return a completion of a prompt by the base or an adapter.

        Raises:
            ServerUnavailable: the server did not respond.
            AdapterMissing: it does not know the adapter.
            UnusableServer: it refused the request, or its response cannot be learned from.
        """
        body = request_body(model, prompt, index, config, self._loaded.end_ids)
        response = self._send("POST", "/completions", body)
        if response.status_code == httpx.codes.NOT_FOUND and not _is_unknown_address(response):
            raise AdapterMissing(f"{self.config.url} does not know {model!r}: {_text(response)}")
        if response.is_error or response.is_redirect:
            raise UnusableServer(
                f"{self.config.url} refused a request with status {response.status_code}: "
                f"{_text(response)}"
            )
        try:
            return self._completion(_choice(response), prompt, index, config)
        except UnusableServer as error:
            raise UnusableServer(f"{self.config.url}: {error}") from error

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        retried: frozenset[int] = RETRIED,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        url = self.config.url.rstrip("/") + path
        try:
            response = self._client.request(
                method, url, json=body, timeout=timeout_s or self.config.timeout_s
            )
        except (httpx.TransportError, RuntimeError) as error:  # the latter: closed meanwhile
            raise ServerUnavailable(f"{type(error).__name__}: {error}") from error
        if response.status_code in retried:
            raise ServerUnavailable(f"status {response.status_code}: {_text(response)}")
        return response

    def _completion(
        self, choice: Mapping[str, Any], prompt: PromptItem, index: int, config: SamplingConfig
    ) -> SampledCompletion:
        loaded = self._loaded
        sent = choice.get("prompt_token_ids")
        if sent is not None and tuple(sent) != prompt.prompt_ids:
            raise UnusableServer(
                f"prompt {prompt.key!r} was sent with {len(prompt.prompt_ids)} token ids, and the "
                f"server continued other ones ({len(sent)})"
            )
        ids = _token_ids(choice, self._vocabulary)
        reason = _finish(ids, choice, loaded.end_ids, config.max_new_tokens)
        logprobs = _logprobs(choice, len(ids))
        shown = ids[:-1] if reason == "eos" else ids
        return SampledCompletion(
            prompt_key=prompt.key,
            sample_index=index,
            token_ids=ids,
            text=template.decode(loaded.tokenizer, shown, loaded.chat.thought_end),
            finish_reason=reason,
            logprob_sum=sum(logprobs),
            logprobs=logprobs,
        )


def request_body(
    model: str, prompt: PromptItem, index: int, config: SamplingConfig, end_ids: Sequence[int]
) -> dict[str, Any]:
    """Return the request for one completion; the same settings give the same request.

    Every setting is stated, also where it filters nothing: a server fills in what is missing from
    the model's own generation config.

    Raises:
        ValueError: the settings ask for responses that do not stop.
    """
    if not config.stop_at_eos:
        raise ValueError("a server always stops at the end tokens")
    return {
        "model": model,
        "prompt": list(prompt.prompt_ids),
        "n": 1,
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": seed_of(config.seed, prompt.key, index),
        "stop_token_ids": list(end_ids),
        "logprobs": 0,  # those of the sampled tokens alone
        "return_token_ids": True,
    }


def _choice(response: httpx.Response) -> Mapping[str, Any]:
    try:
        choice = response.json()["choices"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnusableServer(f"returned no choice: {_text(response)}") from error
    if not isinstance(choice, Mapping):
        raise UnusableServer(f"returned no choice: {_text(response)}")
    return choice


def _token_ids(choice: Mapping[str, Any], vocabulary: int) -> tuple[int, ...]:
    ids = choice.get("token_ids")
    if ids is None:
        raise UnusableServer(
            "returned a text without token ids. Training needs the ids that were sampled, since "
            "tokenizing a text again is not exact; vLLM returns them (return_token_ids) since "
            "version 0.10.2"
        )
    if not isinstance(ids, list) or not ids:
        raise UnusableServer(f"returned {ids!r} as token ids")
    wrong = next((one for one in ids if type(one) is not int or not 0 <= one < vocabulary), None)
    if wrong is not None:
        raise UnusableServer(
            f"returned token id {wrong!r}, but the vocabulary of the base has {vocabulary}; does "
            "it serve the same base model?"
        )
    return tuple(ids)


def _finish(
    ids: tuple[int, ...], choice: Mapping[str, Any], end_ids: Sequence[int], most: int
) -> FinishReason:
    """Return how a response ended; one that ended in another way cannot be learned from."""
    if len(ids) > most:
        raise UnusableServer(f"returned {len(ids)} tokens, but at most {most} were requested")
    early = next((at for at, one in enumerate(ids[:-1]) if one in end_ids), None)
    if early is not None:
        raise UnusableServer(
            f"continued after the end token {ids[early]}; it must stop at all of stop_token_ids "
            f"{list(end_ids)}"
        )
    if ids[-1] in end_ids:
        return "eos"
    reason = choice.get("finish_reason")
    if reason == "length" and len(ids) == most:
        return "length"
    if reason == "length":
        raise UnusableServer(
            f"cut a response off after {len(ids)} of {most} tokens; its context "
            "(--max-model-len) is too short for the prompt with its response"
        )
    raise UnusableServer(
        f"ended a response with finish_reason {reason!r} (stop_reason "
        f"{choice.get('stop_reason')!r}) after token {ids[-1]}, which is none of the end tokens "
        f"{list(end_ids)}"
    )


def _logprobs(choice: Mapping[str, Any], count: int) -> tuple[float, ...]:
    content = choice.get("logprobs")
    values = content.get("token_logprobs") if isinstance(content, Mapping) else None
    is_whole = isinstance(values, list) and len(values) == count
    if not is_whole or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in values or ()
    ):
        raise UnusableServer(f"returned no log-probability for each of the {count} tokens")
    return tuple(float(value) for value in values or ())


def _is_unknown_address(response: httpx.Response) -> bool:
    """Whether there is nothing at the address, rather than no such adapter."""
    if response.status_code == httpx.codes.METHOD_NOT_ALLOWED:
        return True
    try:
        content = response.json()
    except ValueError:
        return response.status_code == httpx.codes.NOT_FOUND
    is_bare = isinstance(content, Mapping) and content.get("detail") == NO_ROUTE
    return response.status_code == httpx.codes.NOT_FOUND and is_bare


def _text(response: httpx.Response) -> str:
    return response.text[:MAX_ERROR_CHARACTERS].strip()
