"""Asks a judge for scores of responses, several at a time, for rewards and scorers."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.domain.judges.prompts import Rubric
from worker.judging import judge
from worker.judging.chat_server import ChatConfig, ChatRefused, ChatServer
from worker.rlhf.reward.judge_reward import JudgedResponse
from worker.rlhf.reward.texts import TextExchange


@dataclass(frozen=True, slots=True)
class JudgeAccess:
    """A judge's server and rubric; calling it returns what the judge says of each response.

    `pause` waits between attempts.
    """

    config: ChatConfig
    rubric: Rubric
    pause: Callable[[float], object] = time.sleep

    def __call__(self, exchanges: Sequence[TextExchange]) -> list[JudgedResponse]:
        """Return the score of each response, or why there is none.

        Raises:
            ChatUnavailable: the server did not respond.
            ChatRefused: the server refuses all requests, such as those of an unknown key.
        """
        with (
            ChatServer(self.config, pause=self.pause) as server,
            ThreadPoolExecutor(self.config.concurrency) as pool,
        ):
            return list(pool.map(lambda one: self._score(server, one), exchanges))

    def _score(self, server: ChatServer, exchange: TextExchange) -> JudgedResponse:
        turns = [{"role": turn.role, "content": turn.content} for turn in exchange.messages]
        try:
            found, usage, problem = judge.score(server, self.rubric, turns, exchange.response)
        except ChatRefused as error:
            if not error.is_of_request:
                raise
            return JudgedResponse(None, problem=str(error))
        tokens = None
        if usage.tokens_in is not None and usage.tokens_out is not None:
            tokens = usage.tokens_in + usage.tokens_out
        return JudgedResponse(None if found is None else float(found.score), tokens, problem)
