"""OpenAssistant messages, one per row: `message_id, parent_id, text, role, rank`.

The messages of a tree are collected and read like the tree format. Trees are held until the file
ends, or until more than `MOST_HELD` messages or `MOST_BYTES` are held; then the tree that has been
idle longest is read. A message whose parent is not held is rejected, and so are messages that were
deleted or did not pass review.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app.errors import Invalid
from app.formats import fields, jsonl, open_assistant
from app.formats.format import Format, has
from app.formats.records import Record, Rejected, Row

MOST_HELD = 20_000
MOST_BYTES = 64 << 20
_ROLES = ("prompter", "assistant")

Numbered = tuple[int, Record | Rejected]


@dataclass(slots=True)
class _Tree:
    """The messages of one tree by id, in the order of the file, and their row numbers."""

    messages: dict[str, Row] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0


class Trees:
    """The trees that may still grow; the one that has been idle longest comes first."""

    def __init__(self, most_held: int = MOST_HELD, most_bytes: int = MOST_BYTES) -> None:
        self.most_held, self.most_bytes = most_held, most_bytes
        self.size_bytes = 0
        self.trees: dict[str, _Tree] = {}
        self.tree_names: dict[str, str] = {}  # of the messages that are held
        self.messages_read = self.trees_read = 0

    @property
    def counted(self) -> str:
        """The number of messages that were accepted, and of their trees."""
        messages, trees = self.messages_read, self.trees_read
        return (
            f"{messages:,} {'message' if messages == 1 else 'messages'} in {trees:,} "
            f"{'tree' if trees == 1 else 'trees'}"
        )

    def read(self, number: int, row: Row) -> Iterator[Numbered]:
        """Add one message; yield the trees that are read to make room for it."""
        name = fields.identifier(row, "message_id")
        if name is None:
            raise Invalid("the row has no 'message_id'")
        _check(row)
        if name in self.tree_names:
            raise Invalid(f"the file contains message {name} twice")
        tree_name = self._tree_name(row, name)
        # Removed and added again, so that the tree that has been idle longest stays first.
        tree = self.trees[tree_name] = self.trees.pop(tree_name, _Tree())
        tree.messages[name], tree.numbers[name] = row, number
        self.messages_read += 1
        self.tree_names[name] = tree_name
        size_bytes = len(jsonl.encode(row))
        tree.size_bytes += size_bytes
        self.size_bytes += size_bytes
        while len(self.tree_names) > self.most_held or self.size_bytes > self.most_bytes:
            yield from self._finish(next(iter(self.trees)))

    def end(self) -> Iterator[Numbered]:
        """Yield the remaining trees."""
        for tree_name in list(self.trees):
            yield from self._finish(tree_name)

    def _tree_name(self, row: Row, name: str) -> str:
        tree_name = fields.identifier(row, "message_tree_id")
        parent = fields.identifier(row, "parent_id") or ""
        return tree_name or self.tree_names.get(parent, name)

    def _finish(self, tree_name: str) -> Iterator[Numbered]:
        tree = self.trees.pop(tree_name)
        self.trees_read += 1
        self.size_bytes -= tree.size_bytes
        for name in tree.messages:
            del self.tree_names[name]
        roots, orphans = _grown(tree)
        for root in roots:
            yield from _records(root, tree)
        yield from orphans


def _check(row: Row) -> None:
    fields.text(row, "text")
    if fields.text(row, "role") not in _ROLES:
        raise Invalid(f"'role' must be prompter or assistant, not {row['role']!r}")
    if row["role"] == "assistant" and row.get("parent_id") is None:
        raise Invalid("a reply must name its parent in 'parent_id'")
    if row.get("deleted"):
        raise Invalid("the message was deleted")
    if row.get("review_result") is False:
        raise Invalid("the message did not pass review")


def _grown(tree: _Tree) -> tuple[list[Row], list[Numbered]]:
    """Return the roots with nested replies, and a reject for each message without a root."""
    nodes = {name: {**row, "replies": []} for name, row in tree.messages.items()}
    replies: dict[str, list[str]] = {}
    waiting = []
    for name, row in tree.messages.items():
        parent = fields.identifier(row, "parent_id")
        if parent is None:
            waiting.append(name)
        else:
            replies.setdefault(parent, []).append(name)
    roots: list[Row] = [nodes[name] for name in waiting]
    reached = set(waiting)
    while waiting:
        name = waiting.pop()
        names = replies.get(name, [])
        nodes[name]["replies"] = [nodes[reply] for reply in names]
        reached.update(names)
        waiting.extend(names)
    reason = "a message before it in its tree was left out, or is too far away in the file"
    return roots, [
        (tree.numbers[name], Rejected(tree.numbers[name], reason, jsonl.encode(row)))
        for name, row in tree.messages.items()
        if name not in reached
    ]


def _records(root: Row, tree: _Tree) -> Iterator[Numbered]:
    """Yield the records of a tree, each with the number of the last row of its prompt."""
    for path, replies, name in open_assistant.prompts(root):
        number = tree.numbers[str(name)]
        try:
            for record in open_assistant.records(path, replies, name):
                yield (
                    number,
                    replace(record, line=number) if isinstance(record, Rejected) else record,
                )
        except Invalid as error:
            yield number, Rejected(number, str(error), jsonl.encode(tree.messages[str(name)]))


def read(row: Row) -> list[Record | Rejected]:
    """Read a single message without its tree."""
    trees = Trees()
    return [outcome for _, outcome in [*trees.read(1, row), *trees.end()]]


FORMAT = Format(
    "open-assistant-rows",
    "OpenAssistant messages",
    has("message_id", "parent_id", "text", "role"),
    read,
    fields=(
        *("message_id", "parent_id", "message_tree_id", "text", "role", "rank"),
        *("deleted", "review_result", "model_name"),
    ),
    ignores={
        "labels": "assessments of single messages by reviewers; the ranks are used",
        "detoxify": "scores of a classifier",
        "emojis": "reactions to a message; the ranks are used",
    },
    start=Trees,
)
