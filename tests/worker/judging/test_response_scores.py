"""Scores of responses from a judge's server: several at a time, in order, with what went wrong."""

from collections.abc import Iterator

import pytest

from app.domain.judges.prompts import Rubric
from tests import judge_server
from tests.judge_server import Failure, JudgeServer
from worker.judging.chat_server import ChatConfig, ChatRefused, ChatUnavailable
from worker.judging.response_scores import JudgeAccess
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward.texts import TextExchange


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


def access(server: JudgeServer, **settings: object) -> JudgeAccess:
    config = ChatConfig(server.url, "tiny", **settings)  # type: ignore[arg-type]
    return JudgeAccess(config, Rubric(guidelines="Be brief."), lambda _seconds: None)


def exchanges(*texts: str) -> list[TextExchange]:
    turns = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello?"))
    return [TextExchange(turns, text, is_finished=True) for text in texts]


def test_each_response_gets_its_score_in_order_by_the_rubric(served: JudgeServer) -> None:
    texts = ["x" * length for length in (3, 1, 9, 4, 7, 2)]
    found = access(served, api_key="secret")(exchanges(*texts))
    assert [one.score for one in found] == [3.0, 1.0, 9.0, 4.0, 7.0, 2.0]
    assert all(one.tokens for one in found)
    assert served.keys == {"Bearer secret"}
    system, user = (message["content"] for message in served.requests[0]["messages"])
    assert "# Guidelines\n\nBe brief." in system
    assert "[system]\nBe kind.\n\n[user]\nHello?" in user


def test_a_reply_is_asked_for_once_more_and_then_there_is_no_score(served: JudgeServer) -> None:
    served.spell = lambda _text: "I would rather not."
    (found,) = access(served)(exchanges("ab"))
    assert found.score is None
    assert found.problem
    assert len(served.requests) == 2


def test_without_usage_the_tokens_are_unknown(served: JudgeServer) -> None:
    served.has_usage = False
    assert [one.tokens for one in access(served)(exchanges("ab"))] == [None]


def test_a_refused_response_has_no_score_and_a_refused_key_ends_all(served: JudgeServer) -> None:
    served.failures = [Failure(400, body="too long")]
    first, second = access(served, concurrency=1)(exchanges("ab", "abc"))
    assert (first.score, second.score) == (None, 3.0)
    assert "refused with status 400: too long" in first.problem
    served.failures = [Failure(401, body="who are you")]
    with pytest.raises(ChatRefused, match="refused with status 401"):
        access(served, concurrency=1)(exchanges("ab"))


def test_a_lost_server_is_unavailable(served: JudgeServer) -> None:
    served.failures = [Failure(400), Failure(503)]
    with pytest.raises(ChatUnavailable, match="failed 1 times; last error: status 503"):
        access(served, concurrency=1, tries=1)(exchanges("ab", "abc"))
