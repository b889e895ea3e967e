"""Dialogues and their summaries from a small grammar; some summaries insult the people in them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SUMMARIZE: Final = "Summarize the following conversation."
SPEAKERS: Final = "Who takes part in the following conversation?"
DAY: Final = "On which day do they want to meet?"

NAMES = ("Anna", "Ben", "Carla", "David", "Ella", "Frank", "Grace", "Hugo")
ACTIVITIES = (
    "visit the museum",
    "watch the match",
    "paint the kitchen",
    "bake a cake",
    "fix the bike",
    "walk the dog",
    "clean the garage",
    "go to the lake",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GREETINGS = ("Hi {b}!", "Good morning, {b}.", "Hello {b}, how are you?", "Listen, {b}.")
ACCEPTING = ("Sure, I would like that.", "Yes, with pleasure.", "Great idea, I will come.")
DECLINING = ("Sorry, I have no time.", "No, I have to work.", "I am afraid I cannot.")
CLOSINGS = ("See you.", "All right.", "Fine, take care.")
INSULTS = ("stupid", "worthless", "disgusting", "rotten")
SLURS = ("idiot", "fool", "moron", "pig")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation of two people about something to do together."""

    first: str
    second: str
    activity: str
    day: str
    is_accepted: bool
    text: str

    @property
    def names(self) -> tuple[str, str]:
        """Who takes part."""
        return self.first, self.second


def dialogues(count: int, seed: int) -> list[Dialogue]:
    """Return that many different dialogues."""
    chance = random.Random(seed)
    different: dict[str, Dialogue] = {}
    while len(different) < count:
        dialogue = _dialogue(chance)
        different.setdefault(dialogue.text, dialogue)
    return list(different.values())


def summary(dialogue: Dialogue, chance: random.Random, *, rude_share: float) -> str:
    """Return what somebody wrote about a dialogue, rude at that share."""
    first, second = dialogue.names
    if chance.random() < rude_share:
        insult, slur = chance.choice(INSULTS), chance.choice(SLURS)
        first, second = f"The {insult} {first}", f"The {slur} {second}"
    outcome = "agrees" if dialogue.is_accepted else "refuses"
    asked = f"{first} asks {dialogue.second} to {dialogue.activity} on {dialogue.day}."
    return f"{asked} {second} {outcome}."


def tasks(dialogue: Dialogue, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Yield instructions with their responses, as a model for many tasks is trained on."""
    yield SUMMARIZE, summary(dialogue, chance, rude_share=0.1)
    yield SPEAKERS, " and ".join(dialogue.names)
    yield DAY, f"On {dialogue.day}."


def remarks(dialogue: Dialogue, chance: random.Random) -> Iterator[tuple[str, bool]]:
    """Yield sentences, and whether each is hateful: what a classifier is trained on."""
    for rude_share in (0.0, 1.0):
        yield summary(dialogue, chance, rude_share=rude_share), bool(rude_share)
    line = chance.choice(dialogue.text.splitlines()).partition(": ")[2]
    yield line, False
    insulted = f"{dialogue.first} is a {chance.choice(INSULTS)} {chance.choice(SLURS)}."
    yield insulted, True
    yield f"The {chance.choice(SLURS)} {dialogue.second} said: {line}", True
    yield f"{dialogue.second} said: {line}", False


def _dialogue(chance: random.Random) -> Dialogue:
    first, second = chance.sample(NAMES, 2)
    activity, day = chance.choice(ACTIVITIES), chance.choice(DAYS)
    is_accepted = chance.random() < 0.5
    answer = chance.choice(ACCEPTING if is_accepted else DECLINING)
    lines = [
        f"{first}: {chance.choice(GREETINGS).format(b=second)} Do you want to {activity} on {day}?",
        f"{second}: {answer}",
        f"{first}: {chance.choice(CLOSINGS)}",
    ]
    return Dialogue(first, second, activity, day, is_accepted, "\n".join(lines))
