"""The texts of the demo project: its instruction for the model and its guidelines for labelers."""

from app.demo.library import TOPICS, Topic

NAME = "Library help desk"
INSTRUCTION = "Answer the reader at the library desk."

_GUIDELINES = """\
# Which answer should the desk give?

You see a reader's question and several answers. Put first the answer that you would want to get \
yourself.

1. **Right first.** An answer with the right information for *this* question beats every other. \
A wrong figure is worse than an honest "I am not sure", and a fact about something else does \
not answer the question.
2. **Then help.** Between two answers that are equally right, prefer the one that offers to do \
something for the reader over the one that sends the reader away.
3. **Then manners.** Kind beats neutral, neutral beats curt.
4. **Then length.** Sentences that have nothing to do with the question make an answer worse. \
Length as such does not make it better.

Text that breaks off, repeats itself or makes no sense is worse than any complete answer.

## What is true at this library

{facts}
"""

EDGE_CASES: tuple[tuple[str, str], ...] = (
    (
        "A curt answer with the right figure versus a kind one with a wrong figure",
        "The curt one: being right comes first.",
    ),
    (
        "Both answers give the right figure, and one adds a fact about something else",
        "The one without it: it answers this question and nothing more.",
    ),
    (
        "Neither answer says anything about the question",
        "The one that offers help; if neither does, they are about the same.",
    ),
    (
        "An answer names two different figures for the same thing",
        "Treat it as wrong: the reader cannot tell which one is right.",
    ),
)


def guidelines() -> str:
    """Return the guidelines in Markdown, with the facts that labelers need to know."""
    return _GUIDELINES.format(facts="\n".join(_facts(topic) for topic in TOPICS))


def _facts(topic: Topic) -> str:
    facts = "; ".join(f"{item}: {value}" for item, value in topic.facts.items())
    return f"- **{topic.name}** - {facts}"
