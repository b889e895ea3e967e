"""The next step in words: every state of a round has a heading, a sentence and a button."""

from typing import Any

import pytest

from app.domain.gate_policies import GateOutcome
from app.domain.gates import table
from app.domain.gates.failures import FailureFigures
from app.domain.gates.judging import LabelerFigures
from app.domain.gates.learning import RewardFigures
from app.domain.gates.verdicts import Figures
from app.domain.goals import Goal
from app.domain.next_action import NextAction
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import GateVerdict, Project, Round
from app.services.rounds.gate_views import GateView
from app.services.rounds.next_step import JobFigures, LabelingFigures, NextStep
from app.services.rounds.round_progress import LabelingProgress
from app.web import next_step_words
from app.web.next_step_parts import NextStepWords

PROJECT = Project(goal=Goal.TRAIN, slug="desk", name="Desk")
TO_RESULTS = {NextAction.IMPORT_RESPONSES, NextAction.ASK_LABELERS, NextAction.SEE_RESULTS}
WAITS = ("planned", "sft", "generating", "reward", "policy", "evaluating")


def words_of(action: NextAction, state: str = "labeling", **figures: Any) -> NextStepWords:
    round_ = Round(number=1, state=RoundState(state), reason="memory ran out")
    return next_step_words.words(PROJECT, NextStep(action, round_, **figures))


def labeling(**changes: Any) -> LabelingFigures:
    figures = {"done": 2, "wanted": 3, "is_evaluation": False, "agreement": 1.0}
    return LabelingFigures(**figures | {"minutes_left": 15.0, "labelers": 3} | changes)


@pytest.fixture(autouse=True)
def _routes(application: Any) -> None:
    """Make the application, which makes the addresses known."""


def test_labeling_says_how_many_judgments_are_left() -> None:
    words = words_of(NextAction.COLLECT_JUDGMENTS, labeling=labeling())
    assert words.heading == "1 more judgment, then train"
    assert "2 of 3 judgments" in words.sentence
    assert "100 % of the time" in words.sentence
    assert "15 min" in words.sentence
    assert [(button.url, button.is_post) for button in words.buttons] == [
        ("/p/desk/label", False),
        ("/p/desk/rounds/1/finish", True),
    ]
    assert words.buttons[1].confirm


def test_without_a_judgment_there_is_nothing_to_continue_with() -> None:
    figures = labeling(done=0, agreement=None, minutes_left=None, labelers=0)
    words = words_of(NextAction.COLLECT_JUDGMENTS, labeling=figures)
    assert words.heading == "3 more judgments, then train"
    assert "last half hour" in words.sentence
    assert [button.url for button in words.buttons] == ["/p/desk/label", "/p/desk/labelers"]


def test_an_evaluation_ends_in_a_decision() -> None:
    figures = labeling(is_evaluation=True, agreement=None, minutes_left=600.0)
    words = words_of(NextAction.COLLECT_JUDGMENTS, "evaluating", labeling=figures)
    assert words.heading == "1 more judgment, then decide"
    assert "10 hours" in words.sentence
    assert words.buttons[1].label == "Decide with the judgments so far"


def test_a_queued_job_says_whether_a_worker_will_take_it() -> None:
    waiting, unserved = (
        words_of(NextAction.WAIT, "policy", job=JobFigures("gpu", True, is_served, 0, 0, ""))
        for is_served in (True, False)
    )
    assert waiting.sentence == "Waiting for a free worker."
    assert "attune worker" in unserved.sentence


def test_a_running_job_says_how_far_it_is() -> None:
    job = JobFigures("gpu", False, False, 3, 9, "")
    words = words_of(NextAction.WAIT, "policy", job=job)
    assert "3 of 9, in progress" in words.sentence
    assert words.buttons[0].url == "/p/desk/rounds/1"


@pytest.mark.parametrize("state", WAITS)
def test_every_stage_that_runs_by_itself_has_a_heading(state: str) -> None:
    assert words_of(NextAction.WAIT, state).heading


@pytest.mark.parametrize(
    "action", sorted(set(NextAction) - {NextAction.COLLECT_JUDGMENTS} - TO_RESULTS)
)
def test_every_action_has_words_and_one_main_button(action: NextAction) -> None:
    state = {NextAction.PLAN_ROUND: "held", NextAction.WAIT: "policy"}.get(action, "failed")
    figures = {"gates": (waits_at(LabelerFigures(3, 2)),)} if action == NextAction.PASS_GATE else {}
    words = words_of(action, state, problem="SFT needs a base model", **figures)
    assert words.heading
    assert words.sentence.endswith(".")
    assert [button.is_main for button in words.buttons].count(True) == 1


@pytest.mark.parametrize(
    ("base_model", "needs_demonstrations"), [("starter", True), ("org/model", False)]
)
def test_a_starter_asks_for_demonstrations_from_the_beginning(
    base_model: str, needs_demonstrations: bool
) -> None:
    project = Project(goal=Goal.TRAIN, slug="desk", name="Desk", base_model=base_model)
    words = next_step_words.words(project, NextStep(NextAction.IMPORT_PROMPTS))
    assert ("trained from scratch on demonstrations" in words.sentence) == needs_demonstrations
    assert ("one prompt per line is enough" in words.sentence) != needs_demonstrations
    assert [button.is_main for button in words.buttons].count(True) == 1


@pytest.mark.parametrize("goal", [Goal.COLLECT, Goal.COMPARE])
@pytest.mark.parametrize("action", sorted(TO_RESULTS | {NextAction.IMPORT_PROMPTS}))
def test_every_action_without_training_has_words_and_one_main_button(
    goal: Goal, action: NextAction
) -> None:
    project = Project(goal=goal, slug="desk", name="Desk")
    step = NextStep(action, unasked=1, imported=LabelingProgress(1, 1, 1))
    words = next_step_words.words(project, step)
    assert words.heading
    assert words.sentence.endswith(".")
    assert [button.is_main for button in words.buttons].count(True) == 1
    assert "1 prompts" not in words.sentence
    assert "All 1" not in words.sentence


def test_labeling_without_rounds_leads_to_the_leaderboard() -> None:
    project = Project(goal=Goal.COMPARE, slug="desk", name="Desk")
    step = NextStep(NextAction.COLLECT_JUDGMENTS, labeling=labeling(labelers=0), unasked=2)
    words = next_step_words.words(project, step)
    assert words.heading == "1 more judgment"
    assert words.sentence.endswith("Labelers have not been asked about 2 more prompts.")
    assert [button.label for button in words.buttons] == ["Label", "Invite labelers", "Leaderboard"]


def waits_at(figures: Figures) -> GateView:
    verdict = figures.verdict(RoundPlan(overlap=3))
    row = GateVerdict(gate=verdict.gate, outcome=GateOutcome.WAITING)
    return GateView(row, table.TITLES[verdict.gate], verdict)


def test_a_round_at_a_check_offers_its_remedies_or_its_page() -> None:
    words = words_of(NextAction.PASS_GATE, "gated", gates=(waits_at(LabelerFigures(3, 2)),))
    assert words.heading == "Round 1 waits at a check: enough labelers"
    assert [button.label for button in words.buttons] == [
        "Ask for 2 judgments per comparison",
        "Add labelers",
        "View all choices",
    ]
    lone = waits_at(RewardFigures(0, None, None, None, "longer", None, None, 50, 9))
    two = words_of(NextAction.PASS_GATE, "gated", gates=(lone, waits_at(LabelerFigures(1, 0))))
    assert "1 more check failed too." in two.sentence


def test_a_failure_with_a_remedy_offers_it_first() -> None:
    failed = FailureFigures(RoundState.POLICY, "out of memory").verdict(RoundPlan())
    words = words_of(NextAction.RETRY_STAGE, "failed", remedies=failed.remedies)
    assert words.buttons[0].label == "Halve the batch size to 32"
    assert words.buttons[0].url == "/p/desk/rounds/1/retry?remedy=smaller_batch"
    assert [button.label for button in words.buttons][-2:] == ["Retry unchanged", "View the round"]


def test_a_failed_round_says_why_and_can_be_retried() -> None:
    words = words_of(NextAction.RETRY_STAGE, "failed")
    assert "memory ran out." in words.sentence
    assert words.buttons[0].url == "/p/desk/rounds/1/retry"
    assert words.buttons[0].is_post


def test_the_first_round_can_be_planned_while_imported_comparisons_are_judged() -> None:
    step = NextStep(NextAction.PLAN_ROUND, imported=LabelingProgress(4, 8, 3))
    words = next_step_words.words(PROJECT, step)
    assert words.heading == "Start round 1"
    assert "5 judgments" in words.sentence
    assert [button.url for button in words.buttons] == ["/p/desk/rounds/new", "/p/desk/label"]


@pytest.mark.parametrize(("labelers", "invites"), [(1, True), (2, False)])
def test_a_round_that_asks_for_more_people_than_there_are_says_to_invite_some(
    labelers: int, invites: bool
) -> None:
    step = NextStep(NextAction.PLAN_ROUND, overlap=2, labelers=labelers)
    words = next_step_words.words(PROJECT, step)
    said = "2 judgments by different people, but the project has 1 active labeler."
    assert (said in words.sentence) is invites
    urls = [button.url for button in words.buttons]
    assert urls == ["/p/desk/rounds/new", "/p/desk/labelers"][: 1 + invites]


@pytest.mark.parametrize(
    ("remedy", "url"),
    [
        ("base_model", "/p/desk/settings#base_model"),
        ("task", "/p/desk/settings#judgment_kind"),
        ("import", "/p/desk/prompts"),
        ("", "/p/desk/rounds/new"),
    ],
)
def test_what_a_round_lacks_comes_with_the_button_that_leads_to_it(remedy: str, url: str) -> None:
    words = words_of(NextAction.COMPLETE_SETUP, "held", problem="it lacks this", remedy=remedy)
    assert words.sentence == "It lacks this."
    assert [button.url for button in words.buttons if button.is_main] == [url]


def test_a_job_that_waits_for_another_attempt_does_not_wait_for_a_worker() -> None:
    job = JobFigures("gpu", True, True, 0, 0, "", "sft", "the disk is full", "2 of 5")
    words = words_of(NextAction.WAIT, "sft", job=job)
    assert words.sentence == "Attempt 2 of 5 failed and will be repeated shortly: the disk is full."
