"""Generates readers' questions and answers of visibly different quality from a seed.

A question names one item of one topic in `library`. An answer has at most six sentences, and its
traits are drawn independently: whether the fact is right, whether help is offered, whether it is
kind, and whether it is padded. Judging answers is left to `taste`.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.demo import phrases
from app.demo.library import TOPICS, Topic

_TOPICS = {topic.name: topic for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class ReaderQuestion:
    """A reader's question, with the topic and item it asks about."""

    text: str
    topic: str
    item: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and one answer to it, of any quality."""

    prompt: ReaderQuestion
    answer: str


@dataclass(frozen=True, slots=True)
class AnswerMix:
    """The probabilities of an answer's traits; the remainder of each group is neutral."""

    right: float = 0.48
    wrong: float = 0.20
    beside: float = 0.10
    offer: float = 0.36
    evasion: float = 0.30
    kind: float = 0.36
    curt: float = 0.30
    padding: float = 0.20


# All questions, enumerated as (topic, item, question, context, greeting) in mixed radix.
_ASKED = tuple(
    (topic, item, ask) for topic in TOPICS for item in topic.facts for ask in topic.questions
)
CAPACITY = len(_ASKED) * len(phrases.CONTEXTS) * len(phrases.GREETINGS)


def prompts(n: int, seed: int) -> list[ReaderQuestion]:
    """Draw n distinct questions; the seed fixes their order, and a larger n only adds more.

    Raises:
        ValueError: n is larger than the number of questions of the grammar.
    """
    if n > CAPACITY:
        raise ValueError(f"the grammar has only {CAPACITY} questions, not {n}")
    order = list(range(CAPACITY))
    random.Random(f"prompts {seed}").shuffle(order)
    return [_prompt(index) for index in order[:n]]


def demonstrations(
    asked: Sequence[ReaderQuestion], seed: int, mix: AnswerMix | None = None
) -> list[Exchange]:
    """Write one answer to every question, of mixed quality."""
    mix = mix or AnswerMix()
    rng = random.Random(f"demonstrations {seed}")
    return [Exchange(prompt, answer(prompt, mix, rng)) for prompt in asked]


def answer(prompt: ReaderQuestion, mix: AnswerMix, rng: random.Random) -> str:
    """Write one answer: opening, padding, fact, offer, padding, closing, most of them optional."""
    topic = _TOPICS[prompt.topic]
    is_kind, is_curt = _draw(rng, mix.kind, mix.curt)
    offers, evades = _draw(rng, mix.offer, mix.evasion)
    parts: list[str] = []
    if is_kind or is_curt:
        openings = phrases.KIND_OPENINGS if is_kind else phrases.CURT_OPENINGS
        closings = phrases.KIND_CLOSINGS if is_kind else phrases.CURT_CLOSINGS
        where = rng.random()
        opening = rng.choice(openings) if where < 0.7 else ""
        closing = rng.choice(closings) if where > 0.4 else ""
    else:
        opening = closing = ""
    parts.append(opening)
    parts.append(_padding(mix, rng))
    parts.append(_fact(topic, prompt.item, mix, rng))
    if offers:
        parts.append(rng.choice((*topic.offers, *phrases.OFFERS)))
    if evades:
        parts.append(rng.choice(phrases.EVASIONS))
    parts.append(_padding(mix, rng))
    parts.append(closing)
    return " ".join(part for part in dict.fromkeys(parts) if part)


def statement(template: str, item: str, value: str) -> str:
    """Fill in a statement of fact and capitalize its first letter."""
    text = template.format(item=item, value=value)
    return text[0].upper() + text[1:]


def sentences() -> Iterator[str]:
    """Yield every sentence that an answer can contain, each at least once."""
    for topic in TOPICS:
        yield from topic.offers
        for template in topic.statements:
            for item in topic.facts:
                for value in topic.values:
                    yield statement(template, item, value)
    yield from phrases.KIND_OPENINGS + phrases.KIND_CLOSINGS
    yield from phrases.CURT_OPENINGS + phrases.CURT_CLOSINGS
    yield from phrases.NON_ANSWERS + phrases.EVASIONS + phrases.OFFERS + phrases.PADDING


def _prompt(index: int) -> ReaderQuestion:
    index, greeting = divmod(index, len(phrases.GREETINGS))
    index, context = divmod(index, len(phrases.CONTEXTS))
    topic, item, ask = _ASKED[index]
    text = f"{phrases.GREETINGS[greeting]}{phrases.CONTEXTS[context]} {ask.format(item=item)}"
    return ReaderQuestion(text, topic.name, item)


def _draw(rng: random.Random, first: float, second: float) -> tuple[bool, bool]:
    """Draw at most one of two traits."""
    roll = rng.random()
    return roll < first, first <= roll < first + second


def _padding(mix: AnswerMix, rng: random.Random) -> str:
    return rng.choice(phrases.PADDING) if rng.random() < mix.padding else ""


def _fact(topic: Topic, item: str, mix: AnswerMix, rng: random.Random) -> str:
    """State the right value, a wrong one, something about another topic, or nothing."""
    roll = rng.random()
    if roll < mix.right:
        return statement(rng.choice(topic.statements), item, topic.facts[item])
    if roll < mix.right + mix.wrong:
        wrong = [value for value in topic.values if value != topic.facts[item]]
        return statement(rng.choice(topic.statements), item, rng.choice(wrong))
    if roll < mix.right + mix.wrong + mix.beside:
        other = rng.choice([candidate for candidate in TOPICS if candidate is not topic])
        other_item = rng.choice(list(other.facts))
        return statement(rng.choice(other.statements), other_item, other.facts[other_item])
    return rng.choice(phrases.NON_ANSWERS)
