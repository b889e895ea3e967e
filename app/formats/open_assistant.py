"""OpenAssistant message trees: one conversation per row that may branch at every turn.

Replies to a prompter turn are ranked against each other (`rank`, 0 is best). Messages that were
deleted or did not pass review are left out.
"""

from collections.abc import Iterator

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
    Row,
    Turn,
)

_ROLES = {"prompter": "user", "assistant": "assistant"}


def read(row: Row) -> list[Record]:
    """Read every prompter turn of a tree as the end of a prompt.

    Ranked replies become a ranking, a single reply a demonstration, and unranked replies
    completions; without replies, the turn becomes a prompt.
    """
    records = [_record(path, node, name) for path, node, name in _prompts(row)]
    if not records:
        raise Invalid("the tree has no turn that passed review")
    return records


def _prompts(row: Row) -> Iterator[tuple[Conversation, list[Row], str | None]]:
    """Walk the tree and yield each prompter turn: the path to it, its replies, and its id."""
    waiting: list[tuple[Conversation, Row]] = [((), fields.inner(row, "prompt"))]
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


def _record(path: Conversation, replies: list[Row], name: str | None) -> Record:
    if not replies:
        return PromptRecord(path, name)
    if len(replies) == 1:
        return DemonstrationRecord(path, fields.text(replies[0], "text"), name)
    ranked = sorted(
        ((rank, fields.text(r, "text")) for r in replies if (rank := _rank(r)) is not None),
        key=lambda item: item[0],
    )[:MOST]
    if len({text for _, text in ranked}) < 2:
        texts = tuple(CompletionText(fields.text(reply, "text")) for reply in replies)
        return CompletionsRecord(path, texts, name)
    return PreferenceRecord(
        path,
        tuple(CompletionText(text) for _, text in ranked),
        Ranking.of_positions([rank for rank, _ in ranked]),
        source_id=name,
    )


def _rank(reply: Row) -> int | None:
    return fields.optional_whole(reply, "rank")


FORMAT = Format("open-assistant", "OpenAssistant trees", has("message_tree_id", "prompt"), read)
