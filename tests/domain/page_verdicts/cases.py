"""Evidence with its verdict, for the tests of the rules and of their words."""

from dataclasses import replace

from app.domain import win_rates
from app.domain.measures import Interval, Measure
from app.domain.next_action import NextAction
from app.domain.page_verdicts import agreement, evaluation, labelers, model
from app.domain.page_verdicts import round as rounds
from app.domain.page_verdicts.agreement import AgreementEvidence, CriterionAgreement
from app.domain.page_verdicts.evaluation import EvaluationEvidence
from app.domain.page_verdicts.labelers import LabelerHabits, LabelersEvidence
from app.domain.page_verdicts.model import ModelEvidence, RewardEvidence
from app.domain.page_verdicts.round import StepEvidence
from app.domain.page_verdicts.verdict import PageVerdict
from app.domain.states import RoundState
from app.domain.win_rates import ArbiterReport, EvaluationResults

Said = tuple[str, str, str]
"""The finding, the tone and the advice of a verdict."""

HASTY = LabelerHabits(
    "L2", 200, remarks=("takes 1 s where others take 24 s", "chooses the first 69 %")
)
USUAL = LabelerHabits("L1", 200)
NOTHING = win_rates.results([], [], arbiter="", scores={}, lengths={})


def said(verdict: PageVerdict) -> Said:
    """Return what a verdict says, without its figures."""
    return verdict.finding, verdict.tone, verdict.advice


def share(value: float, low: float, high: float, n: int = 200) -> Measure:
    """Return a share with its interval."""
    return Measure(value, Interval(low, high), n)


def agreeing(raw: Measure, alpha: Measure | None = None, **changes: object) -> AgreementEvidence:
    """Return the agreement of three labelers on preferences."""
    enough = alpha or share(0.4, 0.2, 0.6)
    evidence = AgreementEvidence(400, raw, enough, has_orders=True, voters=3, active=3)
    return replace(evidence, **changes)  # type: ignore[arg-type]


def rated(alpha: Measure, pairable: int = 90) -> AgreementEvidence:
    """Return the agreement of three labelers on two criteria, one of them easy."""
    none = Measure.missing("nobody chose")
    easy = CriterionAgreement("Relevance", share(0.8, 0.7, 0.9), pairable)
    return AgreementEvidence(
        400, none, none, False, (easy, CriterionAgreement("Tone", alpha, pairable)), 3, 3
    )


EXPECTED = share(0.71, 0.67, 0.75)
LOW = share(0.52, 0.48, 0.56)
AGREEMENT: list[tuple[str, AgreementEvidence, Said]] = [
    (
        "nothing judged, alone",
        agreeing(Measure.missing("none"), judgments=0, voters=0, active=1),
        ("nothing_judged", "early", "invite"),
    ),
    (
        "nothing judged",
        agreeing(Measure.missing("none"), judgments=0, voters=0),
        ("nothing_judged", "early", "label"),
    ),
    ("one labeler", agreeing(EXPECTED, voters=1), ("one_labeler", "early", "label")),
    ("29 shared", agreeing(share(0.4, 0.3, 0.5, 29)), ("few_shared", "early", "label")),
    ("30 shared", agreeing(share(0.71, 0.5, 0.9, 30)), ("agreement_expected", "good", "")),
    ("as expected", agreeing(EXPECTED), ("agreement_expected", "good", "")),
    ("very high", agreeing(share(0.9, 0.86, 0.94)), ("agreement_high", "good", "")),
    ("maybe low", agreeing(share(0.6, 0.55, 0.65)), ("agreement_unclear", "note", "label")),
    ("low", agreeing(LOW), ("agreement_low", "check", "guidelines")),
    ("low, with disputes", agreeing(LOW, disputed=4), ("agreement_low", "check", "settle")),
    (
        "chance",
        agreeing(share(0.5, 0.46, 0.54), share(0.0, -0.1, 0.1)),
        ("agreement_chance", "bad", "guidelines"),
    ),
    (
        "nearly all ties, so that alpha is low and agreement is not",
        agreeing(share(0.95, 0.9, 1.0), share(0.0, -0.1, 0.1)),
        ("agreement_high", "good", ""),
    ),
    (
        "low because of one",
        agreeing(LOW, habits=(USUAL, HASTY), disputed=4),
        ("agreement_low", "check", "talk_or_gold"),
    ),
    (
        "as expected but for one",
        agreeing(EXPECTED, habits=(replace(HASTY, gold=9),)),
        ("agreement_expected", "check", "talk"),
    ),
    ("ratings as expected", rated(share(0.5, 0.4, 0.6)), ("ratings_expected", "good", "")),
    ("ratings maybe low", rated(share(0.25, 0.1, 0.4)), ("ratings_unclear", "note", "label")),
    ("ratings low", rated(share(0.2, 0.1, 0.28)), ("ratings_low", "check", "guidelines")),
    ("ratings by chance", rated(share(0.1, -0.1, 0.3)), ("ratings_chance", "bad", "guidelines")),
    ("few rated", rated(share(0.1, -0.1, 0.3), 12), ("few_shared", "early", "label")),
    (
        "texts",
        replace(rated(EXPECTED), rated=()),
        ("only_texts", "note", ""),
    ),
]

FEW = LabelersEvidence((LabelerHabits("L1", 12),), 3, 3, 30)
LABELERS: list[tuple[str, LabelersEvidence, Said]] = [
    ("nobody yet", replace(FEW, labelers=()), ("nothing_judged", "early", "label")),
    ("too few", replace(FEW, active=1), ("too_few_labelers", "check", "invite")),
    ("29 judgments", FEW, ("labelers_untested", "early", "label")),
    ("usual", replace(FEW, labelers=(USUAL,)), ("labelers_usual", "good", "")),
    (
        "unusual, gold untried",
        replace(FEW, labelers=(USUAL, HASTY)),
        ("labelers_unusual", "check", "talk_or_gold"),
    ),
    (
        "unusual on gold",
        replace(FEW, labelers=(replace(HASTY, gold=9),), active=1),
        ("labelers_unusual", "check", "talk"),
    ),
    (
        "unusual and paused",
        replace(FEW, labelers=(replace(HASTY, is_away=True),)),
        ("labelers_unusual", "check", "weigh"),
    ),
]


def results(
    value: float | None, low: float | None, high: float | None, arbiter: float | None = None
) -> EvaluationResults:
    """Return the results of an evaluation, and an arbiter's share."""
    report = arbiter and ArbiterReport("RM 2", arbiter, 0.6, 0.5, 0.7, 90, "")
    return replace(NOTHING, share=value, low=low, high=high, arbiter=report or None)


BETTER, EVEN, WORSE = results(0.62, 0.55, 0.69), results(0.48, 0.39, 0.57), results(0.4, 0.3, 0.45)


def judged(found: EvaluationResults | None, **changes: object) -> EvaluationEvidence:
    """Return a complete evaluation of a round that is to be decided."""
    evidence = EvaluationEvidence(found, True, 90, 90, RoundState.DECIDING, 2)
    return replace(evidence, **changes)  # type: ignore[arg-type]


EVALUATIONS: list[tuple[str, EvaluationEvidence, Said]] = [
    ("none", judged(None), ("not_evaluated", "early", "")),
    (
        "responding",
        judged(NOTHING, is_complete=False, done=0, wanted=0),
        ("responding", "busy", ""),
    ),
    (
        "not enough yet, however good it looks",
        judged(BETTER, is_complete=False, done=40, state=RoundState.EVALUATING),
        ("judging", "early", "label"),
    ),
    (
        "not enough yet, by a judge",
        judged(replace(BETTER, decided_by="Strict"), is_complete=False),
        ("judging", "early", ""),
    ),
    ("better", judged(BETTER), ("result", "good", "decide")),
    ("even", judged(EVEN), ("result", "check", "decide")),
    ("worse", judged(WORSE), ("result", "bad", "decide")),
    ("no result", judged(NOTHING), ("result", "check", "decide")),
    ("outside a round", judged(BETTER, state=None), ("result", "good", "")),
    (
        "worse, and the reward model says otherwise",
        judged(results(0.4, 0.3, 0.45, 0.7)),
        ("result_against_reward", "bad", "decide"),
    ),
    (
        "too small",
        judged(EVEN, state=RoundState.GATED, check="On 9 prompts, nothing is decided."),
        ("at_check", "check", "choose"),
    ),
    ("promoted", judged(BETTER, state=RoundState.PROMOTED), ("decided", "good", "")),
    ("held", judged(EVEN, state=RoundState.HELD), ("decided", "note", "")),
    (
        "promoted nevertheless",
        judged(EVEN, state=RoundState.PROMOTED),
        ("decided_against", "check", "larger_evaluation"),
    ),
    (
        "held nevertheless",
        judged(BETTER, state=RoundState.HELD),
        ("decided_against", "check", ""),
    ),
]

BELOW = RewardEvidence(0.64, 0.6, 0.68, 0.71, 0.012)
REASON = "The reward model predicts no more than length alone."
MODELS: list[tuple[str, ModelEvidence, Said]] = [
    ("retired", ModelEvidence("policy", is_retired=True), ("retired", "note", "")),
    (
        "base refused",
        ModelEvidence("base", base="refused", refusal="it has no chat template"),
        ("base_refused", "bad", "choose_base"),
    ),
    ("base checking", ModelEvidence("base", base="checking"), ("base_checking", "busy", "")),
    (
        "base unchecked",
        ModelEvidence("base", base="unchecked"),
        ("base_unchecked", "early", "check_again"),
    ),
    (
        "base not known",
        ModelEvidence("base", base="failed"),
        ("base_check_failed", "check", "check_again"),
    ),
    ("base ready", ModelEvidence("base", base="ready"), ("base_ready", "good", "")),
    ("sft", ModelEvidence("sft"), ("sft_ready", "note", "")),
    ("unmeasured", ModelEvidence("reward"), ("reward_unmeasured", "early", "more_judgments")),
    (
        "no better than chance",
        ModelEvidence("reward", reward=replace(BELOW, accuracy=0.52, low=0.5, high=0.54)),
        ("reward_chance", "bad", "more_judgments"),
    ),
    (
        "below people",
        ModelEvidence("reward", reward=BELOW),
        ("reward_below_people", "note", "more_judgments"),
    ),
    (
        "as people",
        ModelEvidence("reward", reward=replace(BELOW, high=0.72)),
        ("reward_as_people", "good", ""),
    ),
    (
        "nobody to compare with",
        ModelEvidence("reward", reward=replace(BELOW, human=None)),
        ("reward_above_chance", "good", ""),
    ),
    (
        "above chance, but a check says otherwise",
        ModelEvidence("reward", check=REASON, reward=replace(BELOW, high=0.72)),
        ("failed_check", "check", ""),
    ),
    (
        "its round waits",
        ModelEvidence("reward", check=REASON, is_waiting=True, round_number=2, reward=BELOW),
        ("at_check", "check", "choose"),
    ),
    ("policy alone", ModelEvidence("policy"), ("not_evaluated", "early", "")),
    (
        "policy that people like, past a check",
        ModelEvidence("policy", check=REASON, evaluation=judged(BETTER)),
        ("result", "good", "decide"),
    ),
    (
        "policy past a check, not judged yet",
        ModelEvidence("policy", check=REASON, evaluation=judged(BETTER, is_complete=False)),
        ("failed_check", "check", ""),
    ),
]

DOUBT = agreement.of(agreeing(LOW))
FINE = agreement.of(agreeing(EXPECTED))
UNUSUAL = labelers.unusual_of([HASTY])
STEP = ("step", "busy", "step")


def step(action: NextAction, **changes: object) -> StepEvidence:
    """Return a next step."""
    return replace(StepEvidence(action), **changes)  # type: ignore[arg-type]


PROJECTS: list[tuple[str, PageVerdict, Said]] = [
    (name, rounds.of_project(found, doubt, unusual), expected)
    for name, found, doubt, unusual, expected in (
        ("labeling", step(NextAction.COLLECT_JUDGMENTS), FINE, None, STEP),
        ("figures pending", step(NextAction.COLLECT_JUDGMENTS), None, None, STEP),
        (
            "nobody can judge",
            step(NextAction.COLLECT_JUDGMENTS, has_labelers=False),
            FINE,
            None,
            ("step", "check", "step"),
        ),
        (
            "labels that cannot be trusted",
            step(NextAction.COLLECT_JUDGMENTS),
            DOUBT,
            UNUSUAL,
            ("agreement_low", "check", "guidelines"),
        ),
        (
            "one labeler's work, before agreement is known",
            step(NextAction.PLAN_ROUND),
            None,
            UNUSUAL,
            ("labelers_unusual", "check", "talk_or_gold"),
        ),
        (
            "a decision that is due comes first",
            step(NextAction.DECIDE, results=BETTER),
            DOUBT,
            UNUSUAL,
            ("step", "good", "step"),
        ),
        ("hold", step(NextAction.DECIDE, results=EVEN), FINE, None, ("step", "check", "step")),
        ("worse", step(NextAction.DECIDE, results=WORSE), FINE, None, ("step", "bad", "step")),
        ("unseen", step(NextAction.DECIDE), FINE, None, ("step", "next", "step")),
        ("failed", step(NextAction.RETRY_STAGE), DOUBT, None, ("step", "bad", "step")),
        ("at a check", step(NextAction.PASS_GATE), DOUBT, None, ("step", "check", "step")),
        ("working", step(NextAction.WAIT), FINE, None, STEP),
        ("stuck", step(NextAction.WAIT, is_stuck=True), DOUBT, None, ("step", "check", "step")),
        ("no model", step(NextAction.CHOOSE_MODEL), None, None, ("step", "bad", "step")),
        ("no prompts", step(NextAction.IMPORT_PROMPTS), None, None, ("step", "next", "step")),
        ("set up", step(NextAction.COMPLETE_SETUP), None, None, ("step", "next", "step")),
        ("paused", step(NextAction.RESUME_LABELING), None, None, ("step", "check", "step")),
    )
]

ROUNDS: list[tuple[str, PageVerdict, Said]] = [
    (name, rounds.of_round(found, state, 2, results=seen, agreement=doubt), expected)
    for name, found, state, seen, doubt, expected in (
        (
            "its own agreement is low",
            step(NextAction.COLLECT_JUDGMENTS),
            RoundState.LABELING,
            None,
            DOUBT,
            ("agreement_low", "check", "guidelines"),
        ),
        ("training", step(NextAction.WAIT), RoundState.POLICY, None, DOUBT, STEP),
        (
            "promoted",
            step(NextAction.PLAN_ROUND),
            RoundState.PROMOTED,
            BETTER,
            None,
            ("decided", "good", ""),
        ),
        (
            "promoted, unseen",
            step(NextAction.PLAN_ROUND),
            RoundState.PROMOTED,
            None,
            None,
            ("decided_unseen", "note", ""),
        ),
        (
            "cancelled",
            step(NextAction.PLAN_ROUND),
            RoundState.CANCELLED,
            None,
            None,
            ("cancelled", "note", ""),
        ),
    )
]

VERDICTS: list[tuple[str, PageVerdict, Said]] = [
    *((name, agreement.of(found), expected) for name, found, expected in AGREEMENT),
    *((name, labelers.of(found), expected) for name, found, expected in LABELERS),
    *((name, evaluation.of(found), expected) for name, found, expected in EVALUATIONS),
    *((name, model.of(found), expected) for name, found, expected in MODELS),
    *PROJECTS,
    *ROUNDS,
]
"""Every case with its verdict, and what it is expected to say."""
