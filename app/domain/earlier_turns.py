"""The turns between a prompt and a completion of one of its follow-ups.

A prompt may have follow-ups: user turns that are asked after the model's own response, as in
MT-Bench. A completion of such a prompt keeps the turns that lead up to it: each response by the
same model, and the follow-up that it was then asked. Two candidates share the prompt and the
follow-ups, but not these responses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import Invalid

Message = Mapping[str, Any]
Turn = tuple[str, str]


def asked_in_steps(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """Split a conversation where two user turns meet: what is asked now, and what is asked later.

    Raises:
        Invalid: a turn of somebody else follows such a place.
    """
    for at in range(1, len(turns)):
        if turns[at - 1][0] == turns[at][0] == "user":
            later = turns[at:]
            if any(role != "user" for role, _ in later):
                raise Invalid(
                    f"turn {at + 1} is asked after the model's own response, so only user "
                    f"turns may follow"
                )
            return tuple(turns[:at]), tuple(content for _, content in later)
    return tuple(turns), ()


def interleaved(responses: Sequence[str], follow_up: Sequence[str]) -> list[dict[str, str]]:
    """Return the turns that lead up to the response to the last of these follow-ups.

    Raises:
        Invalid: there is not one response for each follow-up.
    """
    if len(responses) != len(follow_up):
        raise Invalid(f"{len(follow_up)} follow-ups come after {len(responses)} responses")
    return [
        {"role": role, "content": content}
        for response, question in zip(responses, follow_up, strict=True)
        for role, content in (("assistant", response), ("user", question))
    ]


def checked(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the turns before a completion if a model could have taken part in them.

    Raises:
        Invalid: they are not a response and a follow-up, by turns.
    """
    for number, (role, _) in enumerate(turns, 1):
        expected = "assistant" if number % 2 else "user"
        if role != expected:
            raise Invalid(
                f"turn {number} before a response to a follow-up must be of the {expected}, "
                f"not of the {role}"
            )
    if len(turns) % 2:
        raise Invalid("the turns before a response to a follow-up must end with the follow-up")
    return tuple(turns)


def follow_ups(earlier: Sequence[Message]) -> tuple[str, ...]:
    """Return the follow-ups among the turns before a completion."""
    return tuple(str(turn["content"]) for turn in earlier if turn["role"] == "user")


def responses(earlier: Sequence[Message]) -> tuple[str, ...]:
    """Return the model's own responses among the turns before a completion."""
    return tuple(str(turn["content"]) for turn in earlier if turn["role"] == "assistant")


def as_turns(earlier: Sequence[Message]) -> tuple[Turn, ...]:
    """Return stored turns as role and content."""
    return tuple((str(turn["role"]), str(turn["content"])) for turn in earlier)


def to_ask(messages: Sequence[Message], follow_up: Sequence[str], said: str = "…") -> list[Message]:
    """Return a prompt with its follow-ups, and `said` in place of the model's own responses."""
    return [*messages, *interleaved([said] * len(follow_up), follow_up)]


def in_scores(earlier: Sequence[Sequence[Message]]) -> dict[str, Any]:
    """Return the field with the turns before each completion, if any has some."""
    return {"earlier": [list(turns) for turns in earlier]} if any(earlier) else {}
