"""The small library of the demo project: what readers ask about, and the facts.

This module contains only tables. `grammar` turns them into questions and answers, and
`answer_traits` finds them in any text. Items and values are fixed strings, no item occurs inside
another, and no value belongs to two topics, so that claims in an answer can be found by searching
and checked against the facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of questions: the right value of every item, and ways to ask and to answer."""

    name: str
    facts: Mapping[str, str]
    decoys: tuple[str, ...]
    questions: tuple[str, ...]
    statements: tuple[str, ...]
    offers: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """All values that an answer on this topic may name, right for some item or for none."""
        return (*dict.fromkeys(self.facts.values()), *self.decoys)


def _topic(
    name: str,
    facts: dict[str, str],
    decoys: tuple[str, ...],
    *,
    questions: tuple[str, ...],
    statements: tuple[str, ...],
    offers: tuple[str, ...],
) -> Topic:
    return Topic(name, MappingProxyType(facts), decoys, questions, statements, offers)


TOPICS: tuple[Topic, ...] = (
    _topic(
        "opening hours",
        {
            "on weekdays": "from nine to seven",
            "on Sundays": "from noon to three",
        },
        ("from eight to six", "from ten to four"),
        questions=(
            "When is the library open {item}?",
            "What are your opening hours {item}?",
            "Could you tell me when I can come in {item}?",
            "How long do the doors stay open {item}?",
        ),
        statements=(
            "The library is open {value} {item}.",
            "{item} we are open {value}.",
            "You can come in {value} {item}.",
        ),
        offers=("I can print the timetable for you.", "Shall I send you the holiday hours too?"),
    ),
    _topic(
        "overdue fines",
        {
            "an overdue film": "fifty cents a day",
            "an overdue magazine": "ten cents a day",
        },
        ("ninety cents a day", "twenty cents a day"),
        questions=(
            "How much is the fine for {item}?",
            "What do you charge for {item}?",
            "What will I have to pay for {item}?",
            "Is there a fine for {item}, and how high is it?",
        ),
        statements=(
            "The fine for {item} is {value}.",
            "For {item} we charge {value}.",
            "You pay {value} for {item}.",
        ),
        offers=("I can look up what you owe.", "Shall I waive the first day for you?"),
    ),
    _topic(
        "loan periods",
        {
            "a novel": "for three weeks",
            "a board game": "for ten days",
        },
        ("for two months", "for one week"),
        questions=(
            "How long can I keep {item} at home?",
            "For how long may I borrow {item}?",
            "If I take out {item} today, when is it due?",
            "What is the loan period for {item}?",
        ),
        statements=(
            "You can keep {item} {value}.",
            "We lend {item} {value}.",
            "You may borrow {item} {value}.",
        ),
        offers=("I can send you a reminder before it is due.", "Shall I check one out for you?"),
    ),
    _topic(
        "renewals",
        {
            "a regular loan": "at most twice",
            "a holiday loan": "at most once",
        },
        ("at most five times", "at most nine times"),
        questions=(
            "How often can I renew {item}?",
            "How many times may I extend {item}?",
            "Is it possible to renew {item} again and again?",
            "What is the limit for renewing {item}?",
        ),
        statements=(
            "You can renew {item} {value}.",
            "We extend {item} {value}.",
            "{item} may be renewed {value}.",
        ),
        offers=("I can renew it for you now.", "Shall I switch on automatic renewal?"),
    ),
    _topic(
        "library cards",
        {
            "a lost card": "five dollars",
            "a worn card": "one dollar",
        },
        ("eight dollars", "two dollars"),
        questions=(
            "What does it cost to replace {item}?",
            "How much is a replacement for {item}?",
            "What is the fee if I have {item}?",
            "Do I have to pay when you replace {item}?",
        ),
        statements=(
            "It costs {value} to replace {item}.",
            "Replacing {item} costs {value}.",
            "The fee for {item} is {value}.",
        ),
        offers=("I can make a new card for you today.", "Shall I block the old card for you?"),
    ),
    _topic(
        "holds",
        {
            "a cookbook on hold": "for six days",
            "a comic on hold": "for two days",
        },
        ("for four days", "for thirty days"),
        questions=(
            "How long does {item} wait for me on the shelf?",
            "For how long do you put aside {item}?",
            "By when do I have to pick up {item}?",
            "How many days will you keep {item}?",
        ),
        statements=(
            "We put aside {item} {value}.",
            "{item} waits on the shelf {value}.",
            "We keep {item} {value}.",
        ),
        offers=("I can place a hold for you now.", "Shall I text you when it is here?"),
    ),
    _topic(
        "printing",
        {
            "a colour print": "forty cents a page",
            "a plain print": "fifteen cents a page",
        },
        ("sixty cents a page", "eighty cents a page"),
        questions=(
            "What does {item} cost at the library?",
            "How much do I pay for {item}?",
            "What is the price of {item}?",
            "I need {item}, so what will it cost me?",
        ),
        statements=(
            "The price of {item} is {value}.",
            "{item} costs {value}.",
            "You pay {value} for {item}.",
        ),
        offers=("I can start the printer for you.", "Shall I show you how to send a file?"),
    ),
    _topic(
        "rooms",
        {
            "the small room": "for two hours at a time",
            "the music room": "for one hour at a time",
        },
        ("for four hours at a time", "for seven hours at a time"),
        questions=(
            "How long can we book {item}?",
            "For how long may my group use {item}?",
            "What is the longest booking for {item}?",
            "If we reserve {item}, how much time do we get?",
        ),
        statements=(
            "You can book {item} {value}.",
            "{item} can be reserved {value}.",
            "Groups may use {item} {value}.",
        ),
        offers=("I can reserve it for you now.", "Shall I see which days are free?"),
    ),
    _topic(
        "other libraries",
        {
            "from the university": "within two weeks",
            "from abroad": "within two months",
        },
        ("within five days", "within one year"),
        questions=(
            "How soon can you get me a book {item}?",
            "When would a book that I order {item} be here?",
            "How long does it take to get a title {item}?",
            "Can you order a title {item}, and when will it come?",
        ),
        statements=(
            "A book {item} arrives {value}.",
            "We get titles {item} {value}.",
            "Books {item} are here {value}.",
        ),
        offers=("I can order it for you now.", "Shall I fill in the request with you?"),
    ),
    _topic(
        "downloads",
        {
            "electronic books": "eight at once",
            "audio books": "four at once",
        },
        ("twelve at once", "thirty at once"),
        questions=(
            "How many {item} can I download?",
            "What is the limit for {item} on my tablet?",
            "How many {item} may I have on my account?",
            "Is there a limit on {item}, and what is it?",
        ),
        statements=(
            "Of our {item} you can have {value}.",
            "The limit for {item} is {value}.",
            "With {item} you may have {value}.",
        ),
        offers=("I can set up the app with you.", "Shall I send you the link?"),
    ),
    _topic(
        "donations",
        {
            "donated toys": "at the front desk",
            "donated records": "at the garden gate",
        },
        ("at the side door", "at the town hall"),
        questions=(
            "Where can I leave {item}?",
            "Where do you take {item}?",
            "I have two boxes of {item}, so where should they go?",
            "Which place is right for dropping off {item}?",
        ),
        statements=(
            "You can leave {item} {value}.",
            "We take {item} {value}.",
            "{item} are collected {value}.",
        ),
        offers=("I can carry the boxes in for you.", "Shall I write you a receipt?"),
    ),
    _topic(
        "joining",
        {
            "a child to join": "a note from a parent",
            "a teacher to join": "a letter from the school",
        },
        ("a proof of address", "a bank statement"),
        questions=(
            "What do you need for {item}?",
            "Which papers must I bring for {item}?",
            "What does it take for {item} the library?",
            "What should I have with me for {item}?",
        ),
        statements=(
            "For {item} we need {value}.",
            "Please bring {value} for {item}.",
            "All it takes for {item} is {value}.",
        ),
        offers=("I can fill in the form with you.", "Shall I get the card ready for you?"),
    ),
)
