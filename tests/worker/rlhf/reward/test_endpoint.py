"""An HTTP endpoint as a reward: what is sent, what comes back, and what may go wrong."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx
import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import endpoint
from worker.rlhf.reward.endpoint import EndpointConfig, EndpointReward, EndpointUnavailable
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.texts import Texts

URL = "https://scorer.test/score"
TURNS = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello?"))
Handler = Callable[[httpx.Request], httpx.Response]


def branches(texts: Sequence[str]) -> list[Branches]:
    ours = tiny.tokenizer()
    return [Branches([7, 8], [[*ours.encode(text), tiny.EOS] for text in texts])]


def reward(handler: Handler, **config: object) -> EndpointReward:
    texts = Texts(tiny.tokenizer(), (tiny.EOS,), {(7, 8): TURNS})
    settings = EndpointConfig(URL, **config)  # type: ignore[arg-type]
    made = endpoint.connect(settings, texts, transport=httpx.MockTransport(handler))
    return replace(made, pause=lambda _seconds: None)


def by_length(request: httpx.Request) -> httpx.Response:
    items = json.loads(request.content)["items"]
    return httpx.Response(200, json={"scores": [len(item["response"]) for item in items]})


def test_turns_and_responses_go_out_in_batches_and_scores_come_back_in_order() -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return by_length(request)

    texts = ["x" * length for length in range(1, 41)]
    found = reward(handler, api_key="secret").raw(branches(texts))
    assert found.tolist() == [float(length) for length in range(1, 41)]
    bodies = [json.loads(request.content)["items"] for request in sent]
    assert [len(body) for body in bodies] == [32, 8]
    assert bodies[0][2] == {
        "prompt": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello?"},
        ],
        "response": "xxx",
    }
    assert sent[0].headers["authorization"] == "Bearer secret"


def test_fitted_it_is_mean_zero_and_std_one_on_the_responses_it_was_fitted_to() -> None:
    scored = branches(["a", "bb", "cccc"])
    found = reward(by_length).fitted(scored).score(scored).normalized
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(found.std(correction=0)) == pytest.approx(1.0, abs=1e-6)


def test_a_busy_endpoint_is_asked_again_and_a_lost_one_is_unavailable() -> None:
    answers = [httpx.Response(503), httpx.Response(429), None]

    def handler(request: httpx.Request) -> httpx.Response:
        return (answers.pop(0) if answers else None) or by_length(request)

    assert reward(handler).raw(branches(["ab"])).tolist() == [2.0]

    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(EndpointUnavailable, match=r"score failed 3 times; .*ConnectError: refused"):
        reward(lost, tries=3).raw(branches(["ab"]))


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.Response(200, json={"scores": [1.0]}), "returned 1 scores for 2 responses"),
        (httpx.Response(200, json={"scores": [1.0, "high"]}), "score 2 .* is 'high', not a number"),
        (httpx.Response(200, text='{"scores": [1.0, NaN]}'), "score 2 .* is nan, not a number"),
        (httpx.Response(200, json={"scores": [True, 1]}), "score 1 .* is True, not a number"),
        (httpx.Response(200, json=[1.0, 2.0]), r"must answer \{\"scores\": \[…\]\}"),
        (httpx.Response(200, text="sorry"), "did not return JSON: sorry"),
        (httpx.Response(401, text="who are you"), "refused with status 401: who are you"),
        (
            httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
            r"redirects to 'http://169\.254\.169\.254/'; redirects are not followed",
        ),
    ],
)
def test_a_wrong_answer_is_named_and_not_asked_for_again(
    response: httpx.Response, words: str
) -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return response

    with pytest.raises(ValueError, match=words):
        reward(handler).raw(branches(["a", "b"]))
    assert len(asked) == 1


def test_a_prompt_whose_turns_are_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="the turns of a prompt are not known"):
        reward(by_length).raw([Branches([9], [[3]])])


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no completion to score"):
        reward(by_length).raw([])


def test_scores_are_fp32() -> None:
    assert reward(by_length).raw(branches(["a"])).dtype is torch.float32
