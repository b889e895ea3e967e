"""The next step as pages word it: a heading, a sentence, and the buttons for it."""

from app.domain import recommendations
from app.domain.gate_policies import Gate
from app.domain.next_action import NextAction
from app.domain.plan import STARTER
from app.domain.states import RoundState
from app.domain.win_rates import EvaluationResults
from app.models import Project, Round
from app.services.rounds.next_step import JobFigures, NextStep
from app.services.rounds.readiness import Remedy
from app.web import addresses, page_words, result_steps, start_words
from app.web.next_step_parts import (
    Button,
    NextStepWords,
    count,
    import_button,
    invite_button,
    labeling_sentence,
)

_UNDER_WAY = {
    RoundState.PLANNED: "The round is about to start",
    RoundState.SFT: "Supervised fine-tuning (SFT) is running",
    RoundState.GENERATING: "The model is generating candidates",
    RoundState.LABELING: "Labeling is about to end",
    RoundState.REWARD: "The reward model is training",
    RoundState.POLICY: "The policy is training",
    RoundState.EVALUATING: "Both policies are responding to the evaluation prompts",
}
_JUDGING = "An AI judge is judging responses"
_OUTCOMES = {
    RoundState.PROMOTED: "its policy was promoted",
    RoundState.HELD: "its policy was held",
    RoundState.CANCELLED: "it was cancelled",
}


def words(project: Project, step: NextStep) -> NextStepWords:
    """Return the words and buttons of a project's next step."""
    has_no_round = not project.trains and step.round is None
    if has_no_round and step.action is not NextAction.RESUME_LABELING:
        return result_steps.words(project, step)
    if step.action is NextAction.IMPORT_PROMPTS and project.base_model == STARTER:
        return _import_for_starter(project.slug)
    phrase = {
        NextAction.RESUME_LABELING: _resume_labeling,
        NextAction.IMPORT_PROMPTS: _import_prompts,
        NextAction.COMPLETE_SETUP: _complete_setup,
        NextAction.CHOOSE_MODEL: _choose_model,
        NextAction.PLAN_ROUND: _plan_round,
        NextAction.RETRY_STAGE: _retry_stage,
        NextAction.COLLECT_JUDGMENTS: _collect_judgments,
        NextAction.PASS_GATE: _pass_gate,
        NextAction.DECIDE: _decide,
        NextAction.WAIT: _wait,
    }
    return phrase[step.action](project.slug, step)


def _resume_labeling(slug: str, _step: NextStep) -> NextStepWords:
    return NextStepWords(
        "Labeling is paused",
        "Labelers get no comparisons until labeling is resumed.",
        (Button("Settings", addresses.path("settings.show", slug=slug), is_main=True),),
    )


def _import_prompts(slug: str, _step: NextStep) -> NextStepWords:
    return NextStepWords(
        "Import prompts",
        "The model responds to prompts, and people judge the responses. A file with one prompt "
        "per line is enough; it can also hold demonstrations.",
        (import_button(slug),),
    )


def _import_for_starter(slug: str) -> NextStepWords:
    return NextStepWords(
        "Import prompts and demonstrations",
        "The starter model is trained from scratch on demonstrations, which are prompts with a "
        "good response. Then it responds to prompts, and people judge the responses. A trained "
        "base model needs prompts alone.",
        (import_button(slug), _base_model_button(slug, is_main=False)),
    )


def _complete_setup(slug: str, step: NextStep) -> NextStepWords:
    return NextStepWords(
        "Not ready for a round yet", _sentence(step.problem), remedies(slug, step.remedy)
    )


def _choose_model(slug: str, step: NextStep) -> NextStepWords:
    check = addresses.path("settings.check_base_model", slug=slug)
    return NextStepWords(
        "Choose another base model",
        _sentence(step.problem),
        (
            _base_model_button(slug),
            Button("Check again", check, is_post=True),
        ),
    )


def remedies(slug: str, remedy: str) -> tuple[Button, ...]:
    """Return the buttons that lead to what is missing, the one that helps first."""
    settings = addresses.path("settings.show", slug=slug)
    match remedy:
        case Remedy.BASE_MODEL:
            return (_base_model_button(slug),)
        case Remedy.TASK:
            return (Button("Change the task", f"{settings}#judgment_kind", is_main=True),)
        case Remedy.IMPORT:
            return (import_button(slug), Button("Settings", settings))
    plan = Button("Plan a round", addresses.path("rounds.new", slug=slug), is_main=True)
    return plan, Button("Settings", settings)


def _base_model_button(slug: str, *, is_main: bool = True) -> Button:
    url = addresses.path("settings.show", slug=slug)
    return Button("Choose a base model", f"{url}#base_model", is_main=is_main)


def _sentence(problem: str) -> str:
    return f"{problem[:1].upper()}{problem[1:]}."


def _plan_round(slug: str, step: NextStep) -> NextStepWords:
    number = step.round.number + 1 if step.round else 1
    sentence = "The model generates candidates, people compare them, and a new policy is trained."
    if step.round:
        sentence = (
            f"Round {step.round.number} is over: {_OUTCOMES[RoundState(step.round.state)]}. "
            + start_words.sentence(step.start, step.policy_share, has_sft=step.has_sft)
        )
    buttons = [
        Button(f"Plan round {number}", addresses.path("rounds.new", slug=slug), is_main=True)
    ]
    if step.imported and not step.imported.is_complete:
        left = step.imported.wanted - step.imported.done
        sentence += f" Imported comparisons still need {count(left, 'judgment')}."
        buttons.append(Button("Label", addresses.path("label.show", slug=slug)))
    if step.labelers < step.overlap:
        sentence += (
            f" Each comparison asks for {count(step.overlap, 'judgment')} by different people, but "
            f"the project has {count(step.labelers, 'active labeler')}."
        )
        buttons.append(invite_button(slug))
    return NextStepWords(f"Start round {number}", sentence, tuple(buttons))


def _retry_stage(slug: str, step: NextStep) -> NextStepWords:
    round_ = _round(step)
    retry = addresses.path("rounds.retry", slug=slug, number=round_.number)
    proposed = [
        Button(
            remedy.label,
            f"{retry}?remedy={remedy.key}",
            is_post=True,
            is_main=at == 0,
        )
        for at, remedy in enumerate(step.remedies)
    ]
    advice = (
        "Retry it with another plan, or fix the cause and retry it as it was."
        if proposed
        else "Fix the cause, then retry the stage."
    )
    return NextStepWords(
        f"Round {round_.number} has failed",
        f"{round_.reason}. {advice}",
        (
            *proposed,
            Button(
                "Retry unchanged" if proposed else "Retry",
                retry,
                is_post=True,
                is_main=not proposed,
            ),
            Button("View the round", _round_url(slug, step)),
        ),
    )


def _pass_gate(slug: str, step: NextStep) -> NextStepWords:
    """Say why a round waits; the remedies are on its page, the most promising one here too."""
    number, gates = _round(step).number, step.gates
    first = gates[0]
    more = f" {count(len(gates) - 1, 'more check')} failed too." if len(gates) > 1 else ""
    buttons = [
        Button(
            remedy.label,
            addresses.path(
                "rounds.take_remedy",
                slug=slug,
                number=number,
                gate=first.row.gate,
                remedy=remedy.key,
            ),
            is_post=True,
            is_main=True,
            confirm=f"{remedy.label}? {remedy.effect}",
        )
        for remedy in first.verdict.remedies[:1]
    ]
    if first.row.gate == Gate.LABELERS:
        buttons.append(Button("Add labelers", addresses.path("labelers.show", slug=slug)))
    buttons.append(Button("View all choices", _round_url(slug, step), is_main=not buttons))
    return NextStepWords(
        f"Round {number} waits at a check: {first.title.lower()}",
        f"{first.verdict.reason}{more}",
        tuple(buttons),
    )


def _collect_judgments(slug: str, step: NextStep) -> NextStepWords:
    figures = step.labeling
    assert figures is not None
    goal = "decide" if figures.is_evaluation else "train"
    label = Button("Label", addresses.path("label.show", slug=slug), is_main=True)
    buttons = [label]
    if figures.done:
        finish = addresses.path("rounds.finish", slug=slug, number=_round(step).number)
        confirm = "Stop collecting judgments for this round and continue with those made so far?"
        words = f"{goal.capitalize()} with the judgments so far"
        buttons.append(Button(words, finish, is_post=True, confirm=confirm))
    if not figures.labelers:
        buttons.append(invite_button(slug))
    heading = f"{count(figures.left, 'more judgment')}, then {goal}"
    return NextStepWords(heading, labeling_sentence(figures), tuple(buttons))


def _decide(slug: str, step: NextStep) -> NextStepWords:
    url = f"{_round_url(slug, step)}#decision"
    button = Button("Decide", url, is_main=True)
    recommended = recommendations.recommend(step.results)
    heading = "Promote or hold" if recommended is None else recommended.verdict
    return NextStepWords(heading, _results_sentence(step.results), (button,))


def _results_sentence(results: EvaluationResults | None) -> str:
    if results is None:
        return "There was nothing to evaluate. Promote the new policy, or keep the previous one."
    if results.share is None:
        return f"The evaluation has no result: {results.reason}."
    share = recommendations.in_percent(results.share, results.low, results.high)
    who = f"the AI judge {results.decided_by}" if results.decided_by else "people"
    return (
        f"In a blind comparison on {count(results.prompts, 'prompt')}, {who} preferred the new "
        f"policy {share} of the time, counting a tie as half."
    )


def _wait(slug: str, step: NextStep) -> NextStepWords:
    watch = Button("Watch", _round_url(slug, step), is_main=True)
    is_judged = step.job is not None and step.job.kind == "judge"
    heading = _JUDGING if is_judged else _UNDER_WAY[RoundState(_round(step).state)]
    return NextStepWords(heading, _job_sentence(step.job), (watch,))


def _job_sentence(job: JobFigures | None) -> str:
    automatic = "The next stage starts automatically."
    if job is None or not (job.is_queued or job.total):
        return automatic
    if not job.is_queued:
        return f"{job.done:,} of {job.total:,}, {job.note or 'in progress'}. {automatic}"
    if job.is_served and job.error:
        reason = job.error.rstrip(".")
        return f"Attempt {job.attempts} failed and will be repeated shortly: {reason}."
    if job.is_served:
        return "Waiting for a free worker."
    queue = page_words.queue(job.queue)
    return f"No worker serves the {queue} queue: start one with “attune worker”."


def _round(step: NextStep) -> Round:
    assert step.round is not None, f"{step.action} belongs to a round"
    return step.round


def _round_url(slug: str, step: NextStep) -> str:
    return addresses.path("rounds.show", slug=slug, number=_round(step).number)
