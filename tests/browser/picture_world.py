"""The help desk in the pictures of the documentation, seeded: only pages change them.

Four models answered a reader's questions with different quality, and three labelers judged them
by what is right and kind. A base model is ready, so that a round can be launched.
"""

import random

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.demo import grammar, taste
from app.demo.grammar import AnswerMix
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Completion,
    Project,
    Prompt,
    Role,
    User,
)
from app.services.people import accounts, login_sessions
from app.services.project import projects, prompts
from app.services.project.projects import GuidelinesText
from app.services.queue import practice_standing
from tests.browser.lead_world import CHECK
from tests.services import compared_sources, sample
from tests.services.sample_votes import vote

SLUG = "help-desk"
BASE = "base-135m"
RULES = (
    "1. Prefer the response that answers the question **correctly**.\n"
    "2. If both are correct, prefer the one that offers help.\n"
    "3. If both do, prefer the kinder one; length alone is no merit."
)
MODELS = {
    "Model A": AnswerMix(right=0.9, wrong=0.05, kind=0.7, curt=0.05, offer=0.7, evasion=0.05),
    "Model B": AnswerMix(right=0.7, wrong=0.15, kind=0.5, curt=0.2),
    "Model C": AnswerMix(),
    "Model D": AnswerMix(right=0.2, wrong=0.4, curt=0.5, kind=0.1),
}
COMPARED = 72
JUDGED = 60
MORE = 700  # prompts that nobody has answered yet
FLIPS = 0.15
_NAMES = tuple(MODELS)
_PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
_UTILITY = taste.named("default").utility


def furnish(session: Session) -> str:
    """Make the project; return the secret of its lead's session."""
    lead, *people = (
        accounts.create_user(session, email=f"person{at}@example.org", name=name, password=None)
        for at, name in enumerate(("Lead", "Labeler 1", "Labeler 2", "Labeler 3"))
    )
    project = projects.create(
        session, name="Help desk", owner=lead, slug=SLUG, overlap=3,
        instruction="Answer in a friendly way, in less than 50 words.",
        guidelines=GuidelinesText(rules=RULES),
    )  # fmt: skip
    _choose_base_model(session, project)
    for person in people:
        accounts.add_member(session, project.id, person.id, Role.LABELER, actor_id=None)
    practice_standing.dismiss_guide(session, project.id, lead.id)
    sample.read_guidelines(session, project, lead.id)
    questions = grammar.prompts(COMPARED + MORE, 1)
    rng = random.Random("pictures")
    for number, question in enumerate(questions[:COMPARED]):
        names = [_NAMES[at] for at in _PAIRS[number % len(_PAIRS)]]
        comparison = compared_sources.compare(session, project, number, names)
        _write(session, comparison, question, rng)
        if number < JUDGED:
            _judge(session, comparison, people, rng)
    more = [prompts.NewPrompt((("user", question.text),)) for question in questions[COMPARED:]]
    prompts.add(session, project, more)
    return login_sessions.begin(session, lead.id).secret


def _choose_base_model(session: Session, project: Project) -> None:
    project.base_model = BASE
    config = {"layout": "adapter", "check": CHECK, "ends": [{"id": 2, "token": "<|im_end|>"}]}
    session.add(
        Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.BASE,
            name=BASE,
            uri=BASE,
            sha256="5e" * 32,
            state="ready",
            config=config,
            created_at=now(session),
        )
    )
    session.flush()


def _write(
    session: Session,
    comparison: Comparison,
    question: grammar.ReaderQuestion,
    rng: random.Random,
) -> None:
    """Write a comparison's question, and an answer of each of its models."""
    prompt = session.get_one(Prompt, comparison.prompt_id)
    prompt.messages = [{"role": "user", "content": question.text}]
    for completion in _completions(session, comparison):
        completion.text = grammar.answer(question, MODELS[completion.source], rng)


def _judge(
    session: Session, comparison: Comparison, people: list[User], rng: random.Random
) -> None:
    """Let people prefer what is worth more in the taste of the demo, and err now and then."""
    question = session.get_one(Prompt, comparison.prompt_id).messages[-1]["content"]
    first, second = (_UTILITY(question, one.text) for one in _completions(session, comparison))
    for person in people:
        is_flipped = rng.random() < FLIPS
        is_tie = abs(first - second) < 0.1
        preferred = "tie" if is_tie else "ab"[(second > first) ^ is_flipped]
        shown = rng.choice(((0, 1), (1, 0)))
        vote(session, comparison, person, preferred=preferred, shown_order=shown)


def _completions(session: Session, comparison: Comparison) -> list[Completion]:
    query = (
        select(Completion)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
        .order_by(ComparisonCompletion.position)
    )
    return list(session.scalars(query))
