"""Asks a judge all questions about a comparison, or for a score, and reads its replies.

A reply that cannot be read is asked for once more, with the reason. The score of one response is
the seam for rewards; comparisons are what jobs use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.domain.judges import askings, prompts, verdicts
from app.domain.judges.askings import JudgeVerdict, Shown
from app.domain.judges.prompts import Message, Rubric
from app.domain.judges.verdicts import ShownScore
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid
from worker.judging.chat_server import ChatRefused, ChatReply, ChatServer

T = TypeVar("T")

READS = 2  # how often a reply is asked for before it counts as malformed
REPLY_KEPT = 500  # characters of a reply that could not be read


@dataclass(slots=True)
class Usage:
    """The requests and tokens of asking; tokens are None once a server did not say."""

    requests: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0

    def add(self, reply: ChatReply) -> None:
        """Add what a reply took; the tokens of retried requests are not known and not counted."""
        self.requests += reply.requests
        self.tokens_in = _sum(self.tokens_in, reply.tokens_in)
        self.tokens_out = _sum(self.tokens_out, reply.tokens_out)


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """One request: the order of the responses shown, and the verdict; `problem` if there is none.

    `is_reversed` marks the second request about the same responses.
    """

    order: tuple[int, ...]
    is_reversed: bool
    verdict: Shown | None
    reply: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JudgeAnswer:
    """A judge's verdict on a comparison over all replies; None where one could not be read."""

    verdict: JudgeVerdict | None
    orders: tuple[AskedOrder, ...]
    usage: Usage = field(default_factory=Usage)
    refusal: str = ""

    @property
    def problem(self) -> str:
        """Why there is no verdict; empty if there is one."""
        return self.refusal or next((each.problem for each in self.orders if each.problem), "")


def compare(
    server: ChatServer,
    rubric: Rubric,
    kind: JudgmentKind,
    turns: Sequence[Mapping[str, Any]],
    responses: Sequence[str],
) -> JudgeAnswer:
    """Ask for a verdict on responses, twice as `askings` says, and combine the replies.

    Raises:
        Invalid: they are to be rated, and the rubric has no criteria.
        ChatUnavailable: the server did not respond.
        ChatRefused: the server refuses all requests, such as those of an unknown key.
    """
    usage = Usage()
    asked: list[AskedOrder] = []
    for each in askings.of_comparison(rubric, kind, turns, responses):
        try:
            verdict, reply, problem = _read_twice(server, each.messages, usage, each.read)
        except ChatRefused as error:
            if not error.is_of_request:
                raise
            return JudgeAnswer(None, tuple(asked), usage, refusal=str(error))
        asked.append(AskedOrder(each.order, each.is_reversed, verdict, reply, problem))
        if verdict is None:
            return JudgeAnswer(None, tuple(asked), usage)
    shown = [(each.order, each.verdict) for each in asked if each.verdict is not None]
    return JudgeAnswer(askings.combined(rubric, kind, shown), tuple(asked), usage)


def score(
    server: ChatServer, rubric: Rubric, turns: Sequence[Mapping[str, Any]], response: str
) -> tuple[ShownScore | None, Usage, str]:
    """Ask for a score of one response, 1 to 10; None, and the reason, if no reply has one.

    Raises:
        ChatUnavailable: the server did not respond.
        ChatRefused: the server refused.
    """
    usage = Usage()
    messages = prompts.scoring(rubric, turns, response)
    found, _, problem = _read_twice(server, messages, usage, verdicts.read_score)
    return found, usage, problem


def _read_twice(
    server: ChatServer, messages: Sequence[Message], usage: Usage, read: Callable[[str], T]
) -> tuple[T | None, str, str]:
    """Return what was read, the reply, and why nothing could be read of it."""
    asked, reply, problem = tuple(messages), "", ""
    for _ in range(READS):
        answer = server.ask(asked)
        usage.add(answer)
        reply = answer.text
        try:
            return read(reply), reply[:REPLY_KEPT], ""
        except Invalid as error:
            cut = "cut off at max_tokens: " if answer.is_cut_off else ""
            problem = f"{cut}{error}"
            asked = prompts.again(messages, reply, str(error))
    return None, reply[:REPLY_KEPT], problem


def _sum(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more
