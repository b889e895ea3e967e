"""Three small worlds: what is asked, how a base model answers, and what its labelers value.

Answers vary in everything that is valued, so that a model trained on them leaves room to improve.
The worlds differ in language and taste, and in the shape, vocabulary and training of their models;
what those are is left to `bases`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

Write = Callable[[str, random.Random], str]
Utility = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class World:
    """One world.

    Attributes:
        name: of the world.
        questions: prompts without a name.
        names: number of made-up names that prompts mention, for the size of the vocabulary.
        syllables: that the names consist of, separated by spaces.
        write: an answer to a prompt.
        utility: of an answer, given its prompt; hidden from everything but the labelers.
    """

    name: str
    questions: tuple[str, ...]
    names: int
    syllables: str
    write: Write
    utility: Utility

    def prompts(self, count: int, seed: int) -> list[str]:
        """Return that many different prompts."""
        chance = random.Random(f"{self.name}/{seed}")
        names = self._names()
        asked: dict[str, None] = {}
        while len(asked) < count:
            question = chance.choice(self.questions)
            asked[question.replace("@", chance.choice(names))] = None
        return list(asked)

    def _names(self) -> list[str]:
        chance = random.Random(self.name)
        names: dict[str, None] = {}
        while len(names) < self.names:
            parts = chance.choices(self.syllables.split(), k=chance.randint(2, 3))
            names["".join(parts).capitalize()] = None
        return list(names)


def _some(chance: random.Random, share: float, texts: Sequence[str]) -> list[str]:
    """Return one of the texts with a probability of `share`, otherwise none."""
    return [chance.choice(texts)] if chance.random() < share else []


def _all(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(one) for one in product(*parts))


INGREDIENTS: Final = (
    *("leeks", "lentils", "mackerel", "pumpkin", "spinach", "potatoes", "chickpeas", "mushrooms"),
    *("carrots", "chicken", "cabbage", "barley", "eggs", "trout", "aubergines", "beans"),
)
HERBS: Final = ("basil", "thyme", "parsley", "dill", "sage", "mint")
_STEPS: Final = _all(
    ("Chop", "Rinse", "Slice", "Warm", "Season", "Stir"),
    ("everything", "the onions", "the butter", "the stock", "the rice"),
    ("well.", "for a minute.", "in a wide pan.", "until soft."),
)
_CHATTER: Final = (
    "My grandmother would never have agreed to any of this.",
    "There are as many ways to do it as there are kitchens in the world.",
    "Some people like to put on some music while they cook.",
    "It is really quite simple once you have done it a few times.",
)


def _recipe(prompt: str, chance: random.Random) -> str:
    asked = _asked(prompt, INGREDIENTS)
    used = asked if chance.random() < 0.7 else chance.choice(INGREDIENTS)
    steps = [chance.choice(_STEPS) for _ in range(chance.randint(1, 3))]
    herb = _some(chance, 0.4, [f"Add fresh {herb}." for herb in HERBS])
    start = f"{chance.choice(('Take', 'Start with', 'Cook'))} the {used}."
    return " ".join([*_some(chance, 0.4, _CHATTER), start, *steps, *herb])


def _recipe_utility(prompt: str, text: str) -> float:
    """Brevity, a named herb, and the ingredient that was asked for."""
    words = _words(text)
    return (
        1.5 * any(herb in words for herb in HERBS)
        + 0.7 * (_asked(prompt, INGREDIENTS) in words)
        - 0.06 * len(words)
    )


CITIES: Final = (
    *("Porto", "Ghent", "Trieste", "Tartu", "Cork"),
    *("Graz", "Basel", "Malmo", "Bergen", "Toledo"),
)
_COURTESY: Final = (
    "Thank you for asking.",
    "With pleasure.",
    "Please let me know if you need more.",
    "I hope you enjoy your stay.",
)
_CURT: Final = ("Look it up.", "Why would you go there?", "That is obvious.", "Hurry up.")


def _advice(prompt: str, chance: random.Random) -> str:
    city = _asked(prompt, CITIES) if chance.random() < 0.7 else chance.choice(CITIES)
    place = chance.choice(("harbour", "old town", "castle", "market", "river", "museum"))
    way = chance.choice(("Take the tram to", "Walk to", "Begin at", "Spend a morning at"))
    price = _some(chance, 0.35, [f"It costs {n} euros." for n in range(4, 40)])
    tone = _some(chance, 0.4, _COURTESY) or _some(chance, 0.5, _CURT)
    more = _some(chance, 0.5, ("It is best early in the day.", "Many shops close at noon."))
    parts = [f"{way} the {place} of {city}.", *price, *more]
    return " ".join([*tone, *parts] if chance.random() < 0.5 else [*parts, *tone])


def _advice_utility(prompt: str, text: str) -> float:
    """Politeness, a price, and the right city."""
    return (
        1.0 * any(phrase in text for phrase in _COURTESY)
        - 1.0 * any(phrase in text for phrase in _CURT)
        + 1.2 * bool(re.search(r"\d+ euros", text))
        + 0.7 * (_asked(prompt, CITIES).lower() in _words(text))
    )


_WARNINGS: Final = _all(
    ("WARNING:",), ("ICE", "FLOODS", "GALES", "THICK FOG", "HAIL"), ("INLAND.", "ON ROADS.")
)
_VAGUE: Final = (
    "PERHAPS SOME CLOUD.",
    "MAYBE A LITTLE RAIN.",
    "SKY MUCH AS USUAL.",
    "IT IS HARD TO SAY.",
)


def _report(_: str, chance: random.Random) -> str:
    figures = [
        f"WIND {chance.choice(('NW', 'SE', 'W', 'N'))} {chance.randint(4, 45)} KT.",
        f"TEMP {chance.randint(1, 29)} C.",
        f"VIS {chance.randint(1, 30)} KM.",
        f"RAIN {chance.randint(1, 40)} MM.",
    ]
    parts = chance.sample(figures, chance.randint(0, 3))
    parts += _some(chance, 0.35, _WARNINGS)
    parts += chance.sample(_VAGUE, chance.randint(0 if parts else 1, 2))
    chance.shuffle(parts)
    return " ".join(parts)


def _report_utility(_: str, text: str) -> float:
    """Numbers, up to two, and a warning; vague sentences cost."""
    return (
        0.7 * min(2, len(re.findall(r"\d+", text)))
        + 1.2 * ("WARNING" in text)
        - 0.6 * sum(phrase in text for phrase in _VAGUE)
    )


def _asked(prompt: str, known: Sequence[str]) -> str:
    return next(one for one in known if one in prompt)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


RECIPES: Final = World(
    "recipes",
    _all(
        ("What can I cook with", "I have too many", "How do you prepare"),
        INGREDIENTS,
        ("from @?", "in the style of @?", "as they do in @?"),
    ),
    900,
    "ba lo mir ca ven tu ra sel do pin gra ti o ne chi",
    _recipe,
    _recipe_utility,
)
TRAVEL: Final = World(
    "travel",
    _all(
        ("What should I see in", "I have a day in", "Where do I begin in", "Tell me about"),
        CITIES,
        ("with my friend @?", "on the way to @?"),
    ),
    120,
    "an el ka mo ri su",
    _advice,
    _advice_utility,
)
WEATHER: Final = World(
    "weather",
    _all(
        ("REPORT FOR @", "OUTLOOK, STATION @", "@ NOW", "@ TOMORROW"),
        ("AT DAWN", "AT NOON", "AT DUSK", "AT NIGHT", "FOR SHIPPING", "FOR ROADS", "FOR FARMS"),
    ),
    2400,
    "brek hal vor sund ask fjel dro gim tor ulv nes skar dal eid hov lom vik ros",
    _report,
    _report_utility,
)
WORLDS: Final = {world.name: world for world in (RECIPES, TRAVEL, WEATHER)}
