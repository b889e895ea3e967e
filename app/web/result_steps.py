"""The next step in words where no model is trained: to a leaderboard or an export."""

from app.domain.goals import Goal
from app.domain.judgment_kinds import JudgmentKind
from app.domain.next_action import NextAction
from app.models import Project
from app.services.rounds.next_step import NextStep
from app.web import addresses, leaderboard_view
from app.web.next_step_parts import (
    Button,
    NextStepWords,
    count,
    export_button,
    import_button,
    invite_button,
    labeling_sentence,
    leaderboard_button,
)


def words(project: Project, step: NextStep) -> NextStepWords:
    """Return the words and buttons of a step in a project that trains no model."""
    is_written = project.judgment_kind == JudgmentKind.WRITE
    if is_written and step.action is NextAction.IMPORT_PROMPTS:
        return _import_to_write(project.slug)
    phrase = {
        NextAction.IMPORT_PROMPTS: _import_responses,
        NextAction.IMPORT_RESPONSES: _import_responses,
        NextAction.ASK_LABELERS: _ask_to_write if is_written else _ask_labelers,
        NextAction.COLLECT_JUDGMENTS: _collect_for_results,
        NextAction.SEE_RESULTS: _compare if project.goal == Goal.COMPARE else _export,
    }
    return phrase[step.action](project.slug, step)


def _import_responses(slug: str, step: NextStep) -> NextStepWords:
    has_prompts = step.action is NextAction.IMPORT_RESPONSES
    return NextStepWords(
        "Import responses" if has_prompts else "Import prompts and responses",
        ("The prompts have no responses that people could judge yet. " if has_prompts else "")
        + "A file has prompts with the responses of one or several models to each; it can also "
        "have the judgments of people.",
        (import_button(slug),),
    )


def _import_to_write(slug: str) -> NextStepWords:
    sentence = "Labelers write responses to them. A file with one prompt per line is enough."
    return NextStepWords("Import prompts", sentence, (import_button(slug),))


def _ask_to_write(slug: str, step: NextStep) -> NextStepWords:
    prompts = f"{step.unasked:,} prompt{' waits' if step.unasked == 1 else 's wait'}"
    return _asking(slug, f"{prompts} for a response that labelers write.")


def _ask_labelers(slug: str, step: NextStep) -> NextStepWords:
    prompts = f"{step.unasked:,} prompt{' has' if step.unasked == 1 else 's have'}"
    return _asking(slug, f"{prompts} responses that labelers have not been asked about.")


def _asking(slug: str, sentence: str) -> NextStepWords:
    return NextStepWords(
        "Ask labelers",
        f"{sentence} Up to 500 comparisons are added to the queue at a time.",
        (
            Button(
                "Ask labelers",
                addresses.path("comparisons.ask", slug=slug),
                is_post=True,
                is_main=True,
            ),
            import_button(slug, is_main=False),
        ),
    )


def _collect_for_results(slug: str, step: NextStep) -> NextStepWords:
    figures = step.labeling
    assert figures is not None
    buttons = [Button("Label", addresses.path("label.show", slug=slug), is_main=True)]
    if not figures.labelers:
        buttons.append(invite_button(slug))
    if figures.done:
        buttons.append(leaderboard_button(slug))
    sentence = labeling_sentence(figures)
    if step.unasked:
        sentence += f" Labelers have not been asked about {count(step.unasked, 'more prompt')}."
    return NextStepWords(count(figures.left, "more judgment"), sentence, tuple(buttons))


def _compare(slug: str, step: NextStep) -> NextStepWords:
    """Give the verdict of the leaderboard; lead to it where that is not known or is of groups."""
    heading, rest = "See which model people prefer", "which model wins, and how sure that is"
    if step.leaders is not None:
        heading = leaderboard_view.verdict(step.leaders).removesuffix(".")
        rest = "by how much, and how sure that is"
    return NextStepWords(
        heading,
        f"{_all_judged(step)} The leaderboard says {rest}.",
        (leaderboard_button(slug, is_main=True), export_button(slug)),
    )


def _export(slug: str, step: NextStep) -> NextStepWords:
    return NextStepWords(
        "Export the judgments",
        f"{_all_judged(step)} An export is a file to train on, with a record of what was left out "
        "and why.",
        (export_button(slug, is_main=True), leaderboard_button(slug)),
    )


def _all_judged(step: NextStep) -> str:
    assert step.imported is not None
    if step.imported.done == 1:
        return "The only judgment wanted has been made."
    return f"All {count(step.imported.done, 'judgment')} have been made."
