"""The plain forms of labeling, practice and history: opened, reopened and read."""

from pydantic import BaseModel

from app.domain.judgment_kinds import KINDS
from app.errors import Invalid
from app.services.judging.submissions import Skip, Submission
from app.web.assignments import AssignmentOut
from app.web.json_bodies import reason_not_to_store
from app.web.judgment_kinds import PAGE_KINDS, JudgmentForm, ScaleStep, body_of_form, scale
from app.web.judgment_kinds.kind import whole_number
from app.web.row_ids import ROW_ID_MOST


class SkipForm(BaseModel):
    """A skip as a plain form sends it."""

    assignment_id: str = ""
    lease_token: str = ""
    reason: str = ""
    comment: str = ""


def submission_of(form: JudgmentForm) -> Submission:
    """Return the judgment for the service; a form that is sent twice has the same key.

    Raises:
        Invalid: a field has a value that the page does not offer, or the form is incomplete.
    """
    assignment_id = _assignment_id(form)
    reason = reason_not_to_store(form.comment)
    if reason:
        raise Invalid(f"the comment {reason}")
    return Submission(
        assignment_id,
        form.lease_token,
        form.key or _key(assignment_id, form.lease_token),
        body_of_form(form),
        tuple(form.flags),
        form.comment,
        instruction_version=_instruction_version(form),
    )


def skip_of(form: SkipForm) -> Skip:
    """Return the skip for the service.

    Raises:
        Invalid: the assignment is not a number.
    """
    assignment_id = _assignment_id(form)
    key = _key(assignment_id, form.lease_token)
    return Skip(assignment_id, form.lease_token, key, form.reason, form.comment)


def filled(assignment: AssignmentOut) -> JudgmentForm:
    """Return the form as it opens: with the judgment before an undo, if there is one."""
    form = JudgmentForm(kind=assignment.kind, criteria=_criteria(assignment))
    if KINDS[assignment.kind].is_preferred_text:
        form.text = assignment.candidates[0].text
    if assignment.previous is not None:
        form.flags, form.comment = list(assignment.previous.flags), assignment.previous.comment
        assignment.previous.answer.fill(form)
    return form


def reopened(form: JudgmentForm, assignment: AssignmentOut) -> JudgmentForm:
    """Return a refused form as it opens again, with everything that was typed.

    Ratings are dropped if the form was made with other criteria than the project has now.
    """
    criteria = _criteria(assignment)
    ratings = form.ratings if form.criteria == criteria else []
    return form.model_copy(update={"criteria": criteria, "ratings": ratings})


def scale_of(assignment: AssignmentOut, chosen: str = "") -> list[ScaleStep]:
    """Return the scale between the two responses, for the kinds that have one."""
    if not PAGE_KINDS[assignment.kind].has_scale:
        return []
    positions = [candidate.position for candidate in assignment.candidates]
    return scale(positions, assignment.strengths, allow_tie=assignment.allow_tie, chosen=chosen)


def _assignment_id(form: JudgmentForm | SkipForm) -> int:
    if not form.assignment_id:  # a form of the history names the judgment in its address
        return 0
    return whole_number("the assignment", form.assignment_id, 0, ROW_ID_MOST)


def _instruction_version(form: JudgmentForm) -> int | None:
    if not form.instruction_version:
        return None
    return whole_number("the version of the instruction", form.instruction_version, 0, ROW_ID_MOST)


def _key(assignment_id: int, lease_token: str) -> str:
    return f"form-{assignment_id}-{lease_token}"[:64]


def _criteria(assignment: AssignmentOut) -> list[str]:
    return [criterion.name for criterion in assignment.criteria]
