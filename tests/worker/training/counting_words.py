"""Demonstrations that a tiny model learns something from: which of two has more.

As in real ones, the same can be said in several ways, so no model reaches a loss of 0.
"""

import random

from worker.runs.sft import PromptResponse

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gil", "Hal", "Ida", "Jon", "Kai", "Lea"]
THINGS = ["apples", "pears", "books", "coins", "stones", "shells", "pens", "cups"]
BEGINNINGS = ["Well,", "So", "Clearly,", "Oh,", "Here,", "Sure:", "Look,", "Now"]
PLACES = ["today", "here", "now", "there", "indeed", "again", "surely", "though"]


def demonstrations(count: int, *, seed: int = 1) -> list[PromptResponse]:
    """Return questions with their answers."""
    order = random.Random(seed)
    made = []
    for number in range(count):
        first, second = order.sample(NAMES, 2)
        thing, one, other = order.choice(THINGS), order.randint(1, 9), order.randint(1, 9)
        more = first if one > other else second if other > one else "nobody"
        asked = f"{first} has {one} {thing}, {second} has {other}. Who has more?"
        begin, place = order.choice(BEGINNINGS), order.choice(PLACES)
        end = f"I {order.choice(('think', 'guess', 'say', 'mean'))} {order.choice(PLACES)}"
        answer = f"{begin} {more} has more {thing} {place}, {end}."
        made.append(PromptResponse(number, [{"role": "user", "content": asked}], answer))
    return made


def turned_round(rows: list[PromptResponse]) -> list[PromptResponse]:
    """Return the same texts with the answer as the question: other work on the same words."""
    return [
        PromptResponse(
            row.prompt_id, [{"role": "user", "content": row.text}], str(row.messages[0]["content"])
        )
        for row in rows
    ]
