"""Token ids of a server: what is asked, what is refused, and how adapters come and go."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import sampling_server
from tests.sampling_server import BASE_NAME, SamplingServer
from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import saving
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.sampling import sampling, server, token_server
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import ServerConfig, ServerUnavailable
from worker.rlhf.sampling.token_server import AdapterMissing, TokenServer

CONFIG = SamplingConfig(max_new_tokens=6, seed=5, top_p=0.9, temperature=0.7)
PROMPT = PromptItem("a", tiny.token_ids(4)[0])


@pytest.fixture(scope="module")
def running() -> Iterator[SamplingServer]:
    with sampling_server.serving(tiny.loaded()) as made:
        yield made


@pytest.fixture
def served(running: SamplingServer) -> Iterator[SamplingServer]:
    yield running
    running.changes, running.failures, running.without_ids = {}, [], False
    running.takes_adapters = True
    running.restart()


@pytest.fixture
def client(served: SamplingServer) -> Iterator[TokenServer]:
    made = TokenServer(ServerConfig(served.url, BASE_NAME), tiny.loaded())
    yield made
    made.close()


def test_a_completion_is_the_one_that_the_model_samples_with_the_requests_seed(
    served: SamplingServer,
    client: TokenServer,
) -> None:
    found = client.complete(BASE_NAME, PROMPT, 2, CONFIG)
    asked = served.requests[-1]
    seeded = replace(CONFIG, seed=server.seed_of(5, "a", 2))
    (expected,) = sampling.generate(
        Roles(tiny.loaded()), [PromptItem("request", PROMPT.prompt_ids)], seeded, BASE
    )
    assert found == replace(expected, prompt_key="a", sample_index=2)
    assert asked == {
        "model": BASE_NAME,
        "prompt": list(PROMPT.prompt_ids),
        "n": 1,
        "max_tokens": 6,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": server.seed_of(5, "a", 2),
        "stop_token_ids": [tiny.EOS],
        "logprobs": 0,
        "return_token_ids": True,
    }
    assert token_server.request_body(BASE_NAME, PROMPT, 2, CONFIG, [tiny.EOS]) == asked


LOGPROBS = {"token_logprobs": [-1.0] * 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": None}, "text without token ids"),
        ({"token_ids": []}, r"returned \[\] as token ids"),
        ({"token_ids": [7, 259]}, "token id 259, but the vocabulary of the base has 259"),
        ({"token_ids": [7, -1]}, "token id -1"),
        ({"token_ids": [7, True]}, "token id True"),
        ({"token_ids": [7] * 7}, "returned 7 tokens, but at most 6"),
        ({"token_ids": [7, 2, 7, 7, 7, 7]}, "continued after the end token 2"),
        ({"token_ids": [7] * 3, "finish_reason": "length"}, "cut a response off after 3 of 6"),
        ({"token_ids": [7] * 3, "finish_reason": "stop"}, "none of the end tokens"),
        ({"token_ids": [7] * 6, "finish_reason": "abort"}, "finish_reason 'abort'"),
        ({"token_ids": [7] * 6, "finish_reason": "length", "logprobs": None}, "no log-prob"),
        (
            {
                "token_ids": [7] * 5 + [2],
                "logprobs": {"token_logprobs": [-1.0] * 5 + [None]},
            },
            "no log-probability for each of the 6 tokens",
        ),
        ({"prompt_token_ids": [1, 2, 3]}, r"server continued other ones \(3\)"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    served: SamplingServer, client: TokenServer, changes: dict[str, Any], message: str
) -> None:
    served.changes = changes
    with pytest.raises(ValueError, match=message):
        client.complete(BASE_NAME, PROMPT, 0, CONFIG)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token_ids": [7] * 5 + [2], "finish_reason": "stop"}, "eos"),
        ({"token_ids": [7] * 5 + [2], "finish_reason": "length"}, "eos"),
        ({"token_ids": [7] * 6, "finish_reason": "length"}, "length"),
    ],
)
def test_only_an_end_token_finishes_a_response(
    served: SamplingServer, client: TokenServer, changes: dict[str, Any], reason: str
) -> None:
    served.changes = {**changes, "logprobs": LOGPROBS}
    assert client.complete(BASE_NAME, PROMPT, 0, CONFIG).finish_reason == reason


def test_adapters_come_and_go_by_name(
    served: SamplingServer, client: TokenServer, tmp_path: Path
) -> None:
    saving.save_adapter(tiny.roles("policy", moved=0.3), tmp_path / "one")
    with pytest.raises(AdapterMissing, match="does not know 'one'"):
        client.complete("one", PROMPT, 0, CONFIG)
    client.load("one", tmp_path / "one")
    assert [(one.name, one.root) for one in client.models()][1:] == [("one", f"{tmp_path}/one")]
    by_adapter = client.complete("one", PROMPT, 0, CONFIG)
    assert by_adapter.token_ids != client.complete(BASE_NAME, PROMPT, 0, CONFIG).token_ids
    assert client.unload("one")
    assert not client.unload("one")
    with pytest.raises(ValueError, match=r"cannot load the adapter in .*/none .* the same path"):
        client.load("none", tmp_path / "none")


def test_a_server_without_adapters_or_with_another_model_is_refused(
    served: SamplingServer, client: TokenServer, tmp_path: Path
) -> None:
    served.takes_adapters = False
    with pytest.raises(ValueError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        client.load("one", tmp_path)
    other = TokenServer(ServerConfig(served.url, "another"), tiny.loaded())
    with pytest.raises(ValueError, match="does not serve 'another'; its models: the-base"):
        other.models()
    other.close()


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_server_that_is_away_is_told_from_one_that_refuses(
    served: SamplingServer, client: TokenServer, status: int
) -> None:
    served.failures = [status, 400]
    with pytest.raises(ServerUnavailable):
        client.complete(BASE_NAME, PROMPT, 0, CONFIG)
    with pytest.raises(ValueError, match="refused a request with status 400"):
        client.complete(BASE_NAME, PROMPT, 0, CONFIG)
