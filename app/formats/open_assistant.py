"""OpenAssistant message trees: one conversation per row that may branch at every turn.

Replies to a prompter turn are ranked against each other (`rank`, 0 is best); the best reply is also
a demonstration. Messages that were deleted or did not pass review are left out.
"""

from collections.abc import Iterator
from itertools import chain

from app.domain.ranking import MOST, Ranking
from app.errors import Invalid
from app.formats import fields
from app.formats.format import Format, has
from app.formats.records import (
    CompletionsRecord,
    CompletionText,
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Rejected,
    Row,
    Turn,
)

_ROLES = {"prompter": "user", "assistant": "assistant"}


def read(row: Row) -> list[Record | Rejected]:
    """Read every prompter turn of a tree as the end of a prompt.

    Ranked replies become a ranking, and the best of them a demonstration; a single reply becomes a
    demonstration, and unranked replies completions. Without replies, the turn becomes a prompt.
    """
    turns = prompts(fields.inner(row, "prompt"))
    outcomes = list(chain.from_iterable(records(*turn) for turn in turns))
    if not outcomes:
        raise Invalid("the tree has no turn that passed review")
    return outcomes


def prompts(root: Row) -> Iterator[tuple[Conversation, list[Row], str | None]]:
    """Walk the tree and yield each prompter turn: the path to it, its replies, and its id."""
    waiting: list[tuple[Conversation, Row]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if node.get("deleted") or node.get("review_result") is False:
            continue
        role = fields.text(node, "role")
        if role not in _ROLES:
            raise Invalid(f"'role' must be prompter or assistant, not {role!r}")
        here = (*path, Turn(_ROLES[role], fields.text(node, "text")))
        replies = fields.objects(node, "replies") if node.get("replies") else []
        kept = [r for r in replies if not r.get("deleted") and r.get("review_result") is not False]
        waiting.extend((here, reply) for reply in reversed(kept))
        if role == "prompter":
            yield here, kept, fields.identifier(node, "message_id")


def records(
    path: Conversation, replies: list[Row], name: str | None
) -> Iterator[Record | Rejected]:
    """Yield the records of one prompt and its replies."""
    ranked = _ranked(replies)
    if not replies:
        yield PromptRecord(path, name)
    elif len(replies) == 1:
        yield DemonstrationRecord(path, fields.text(replies[0], "text"), name)
    elif len({reply.text for _, reply in ranked}) < 2:
        yield CompletionsRecord(path, tuple(map(_completion, replies)), name)
    else:
        if len(ranked) > MOST:
            left_out = f"the last {len(ranked) - MOST} of {len(ranked)} ranked replies"
            yield Rejected(0, f"{left_out} are left out; a ranking holds {MOST}")
        yield _ranking(path, ranked[:MOST], name)
        if ranked[0][0] == 0:
            yield DemonstrationRecord(path, ranked[0][1].text, name)


def _ranking(
    path: Conversation, ranked: list[tuple[int, CompletionText]], name: str | None
) -> PreferenceRecord:
    return PreferenceRecord(
        path,
        tuple(reply for _, reply in ranked),
        Ranking.of_positions([rank for rank, _ in ranked]),
        source_id=name,
    )


def _ranked(replies: list[Row]) -> list[tuple[int, CompletionText]]:
    """Return the replies that have a rank, best first."""
    ranks = ((fields.optional_whole(reply, "rank"), reply) for reply in replies)
    ranked = [(rank, _completion(reply)) for rank, reply in ranks if rank is not None]
    return sorted(ranked, key=lambda item: item[0])


def _completion(reply: Row) -> CompletionText:
    return CompletionText(fields.text(reply, "text"), fields.identifier(reply, "model_name"))


FORMAT = Format(
    "open-assistant",
    "OpenAssistant trees",
    has("message_tree_id", "prompt"),
    read,
    fields=("message_tree_id", "prompt"),
)
