"""The help desk in the pictures of the documentation: seeded, so that they change with the pages only.

Four models answered a reader's questions with different quality; three labelers judged them by what
is right and kind. Then a new policy was compared with the old one.
"""

import random

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.demo import grammar, taste
from app.demo.grammar import AnswerMix
from app.models import Comparison, ComparisonCompletion, Completion, Project, Prompt, Role, User
from app.services.people import accounts, login_sessions
from app.services.project import projects
from app.services.project.projects import GuidelinesText
from app.services.queue import practice_standing
from tests.services import compared_sources
from tests.services.sample_votes import vote
from tests.worker.runs import judged

SLUG = "help-desk"
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
PROMPTS = 72
JUDGED = 60
EVALUATED = 40
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
        session, name="Help desk", owner=lead, slug=SLUG, base_model="starter", overlap=3,
        instruction="Answer in a friendly way, in less than 50 words.",
        guidelines=GuidelinesText(rules=RULES),
    )  # fmt: skip
    for person in people:
        accounts.add_member(session, project.id, person.id, Role.LABELER, actor_id=None)
    practice_standing.dismiss_guide(session, project.id, lead.id)
    rng = random.Random("pictures")
    for number, question in enumerate(grammar.prompts(PROMPTS, 1)):
        names = [_NAMES[at] for at in _PAIRS[number % len(_PAIRS)]]
        comparison = compared_sources.compare(session, project, number, names)
        _write(session, comparison, question, [MODELS[name] for name in names], rng)
        if number < JUDGED:
            _judge(session, comparison, people, rng)
    _evaluate(session, project, people, rng)
    return login_sessions.begin(session, lead.id).secret


def _evaluate(session: Session, project: Project, people: list[User], rng: random.Random) -> None:
    evaluation = judged.make_evaluation(session, project, EVALUATED)
    made = session.scalars(
        select(Comparison)
        .where(Comparison.evaluation_id == evaluation.id)
        .order_by(Comparison.id)
    ).all()
    for comparison, question in zip(made, grammar.prompts(EVALUATED, 2), strict=True):
        _write(session, comparison, question, [MODELS["Model A"], MODELS["Model C"]], rng)
        _judge(session, comparison, people[:1], rng)


def _write(
    session: Session,
    comparison: Comparison,
    question: grammar.ReaderQuestion,
    mixes: list[AnswerMix],
    rng: random.Random,
) -> None:
    """Give a comparison a question, and its completions answers of the mixes, in canonical order."""
    prompt = session.get_one(Prompt, comparison.prompt_id)
    prompt.messages = [{"role": "user", "content": question.text}]
    for completion, mix in zip(_completions(session, comparison), mixes, strict=True):
        completion.text = grammar.answer(question, mix, rng)


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
        vote(session, comparison, person, preferred=preferred)


def _completions(session: Session, comparison: Comparison) -> list[Completion]:
    query = (
        select(Completion)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
        .order_by(ComparisonCompletion.position)
    )
    return list(session.scalars(query))
