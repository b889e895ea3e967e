"""Asks a judge about a comparison in both orders, or for a score, and reads its replies.

A reply that cannot be read is asked for once more, with the reason. The score of one response is
the seam for rewards; comparisons are what jobs use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.domain.judges import prompts, verdicts
from app.domain.judges.prompts import Message, Rubric
from app.domain.judges.verdicts import CombinedVerdict, ShownScore, ShownVerdict
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
    """One order in which responses were shown, and the verdict; `problem` if there is none."""

    order: tuple[int, ...]
    verdict: ShownVerdict | None
    reply: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JudgeAnswer:
    """A judge's verdict on a comparison over all orders; None where a reply could not be read."""

    verdict: CombinedVerdict | None
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
    """Ask for a verdict on responses in each order, and combine them.

    Raises:
        ChatUnavailable: the server did not respond.
        ChatRefused: the server refuses all requests, such as those of an unknown key.
    """
    usage = Usage()
    asked: list[AskedOrder] = []
    for order in verdicts.orders(len(responses)):
        shown = [responses[position] for position in order]
        messages = prompts.comparison(rubric, kind, turns, shown)
        try:
            verdict, reply, problem = _read_twice(
                server,
                messages,
                usage,
                lambda text: verdicts.read(text, kind, len(responses), strengths=rubric.strengths),
            )
        except ChatRefused as error:
            if not error.is_of_request:
                raise
            return JudgeAnswer(None, tuple(asked), usage, refusal=str(error))
        asked.append(AskedOrder(order, verdict, reply, problem))
        if verdict is None:
            return JudgeAnswer(None, tuple(asked), usage)
    shown_verdicts = [(each.order, each.verdict) for each in asked if each.verdict is not None]
    return JudgeAnswer(verdicts.combined(shown_verdicts), tuple(asked), usage)


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
