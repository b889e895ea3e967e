"""The verdicts that pages open with, and the API returns: what they are decided by, from rows.

The rules are in `app.domain.page_verdicts`. Figures that a page has already are given, so that its
verdict is of the same numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.domain.agreement import PreferenceAgreement
from app.domain.gate_policies import Gate
from app.domain.goals import Goal
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.page_verdicts import agreement as agreement_rules
from app.domain.page_verdicts import evaluation as evaluation_rules
from app.domain.page_verdicts import labelers as labelers_rules
from app.domain.page_verdicts import model as model_rules
from app.domain.page_verdicts import round as round_rules
from app.domain.page_verdicts.agreement import AgreementEvidence, CriterionAgreement
from app.domain.page_verdicts.evaluation import EvaluationEvidence
from app.domain.page_verdicts.labelers import LabelerHabits, LabelersEvidence
from app.domain.page_verdicts.model import ModelEvidence, RewardEvidence
from app.domain.page_verdicts.round import StepEvidence
from app.domain.page_verdicts.verdict import PageVerdict
from app.domain.states import RoundState
from app.domain.win_rates import EvaluationResults
from app.errors import FigurePending
from app.models import Checkpoint, CheckpointKind, Evaluation, Project, Purpose, Round
from app.services.checkpoints import base_models
from app.services.datasets import imported_votes
from app.services.people import accounts
from app.services.quality import agreement, labeler_quality
from app.services.quality.absolute_agreement import AbsoluteReport
from app.services.quality.agreement import AgreementReport
from app.services.quality.labeler_quality import Quality
from app.services.quality.labeler_remarks import MIN_JUDGMENTS
from app.services.rounds import evaluations, gate_views, gates, loop_overview, round_progress
from app.services.rounds.next_step import NextStep
from app.services.rounds.round_progress import LabelingProgress


def of_agreement(
    session: Session, project: Project, report: AgreementReport, where: str = ""
) -> PageVerdict:
    """Return the verdict on a report of agreement; `where` says of which part it is."""
    return _on_agreement(
        session, project, report.overall, report.absolute, report.judgments, where=where
    )


def of_labelers(session: Session, project: Project, quality: Sequence[Quality]) -> PageVerdict:
    """Return the verdict on a project's labelers."""
    return labelers_rules.of(
        LabelersEvidence(
            habits(session, project, quality),
            gates.count_labelers(session, project.id),
            project.overlap,
            MIN_JUDGMENTS,
        )
    )


def of_evaluation(
    session: Session, evaluation: Evaluation, results: EvaluationResults | None = None
) -> PageVerdict:
    """Return the verdict on an evaluation; `results` are of all its prompts."""
    return evaluation_rules.of(_evaluation(session, evaluation, results))


def of_checkpoint(session: Session, checkpoint: Checkpoint) -> PageVerdict:
    """Return the verdict on a model."""
    kind = CheckpointKind(checkpoint.kind)
    base = base_models.of(session, checkpoint) if kind is CheckpointKind.BASE else None
    check, is_waiting = _check(session, checkpoint)
    round_ = round_progress.by_id(session, checkpoint.round_id)
    evaluation = _evaluation_of(session, checkpoint)
    return model_rules.of(
        ModelEvidence(
            str(kind),
            is_retired=checkpoint.state == "retired",
            check=check,
            is_waiting=is_waiting,
            round_number=round_.number if round_ else 0,
            base=str(base.state) if base else "",
            refusal=base.refusal if base else "",
            reward=_reward(checkpoint) if kind is CheckpointKind.REWARD else None,
            evaluation=None if evaluation is None else _evaluation(session, evaluation),
        )
    )


def of_round(
    session: Session, project: Project, overview: round_progress.RoundOverview, step: NextStep
) -> PageVerdict:
    """Return the verdict on a round, after which `step` is the next one."""
    round_, state = overview.round, RoundState(overview.round.state)
    evaluation = overview.evaluation
    results = evaluations.results(session, evaluation) if evaluation else None
    own = None
    if state is RoundState.LABELING:
        own = _agreement_of(session, project, round_.id, f" in round {round_.number}")
    return round_rules.of_round(
        _step(session, project, step),
        state,
        round_.number,
        results=results,
        agreement=own,
    )


def of_project(session: Session, project: Project, step: NextStep) -> PageVerdict:
    """Return the verdict on a project."""
    return round_rules.of_project(
        _step(session, project, step),
        _agreement_of(session, project),
        _unusual(session, project),
    )


def habits(
    session: Session, project: Project, quality: Iterable[Quality]
) -> tuple[LabelerHabits, ...]:
    """Return each labeler's work as verdicts are decided by it."""
    away = {
        member.user_id
        for member in accounts.members(session, project.id)
        if member.is_paused or imported_votes.is_imported(member.user)
    }
    return tuple(
        LabelerHabits(one.labeler, one.judgments, one.gold.n, one.user_id in away, one.remarks)
        for one in quality
    )


def _on_agreement(
    session: Session,
    project: Project,
    overall: PreferenceAgreement,
    absolute: AbsoluteReport,
    judgments: int,
    *,
    where: str,
) -> PageVerdict:
    kind = KINDS[JudgmentKind(project.judgment_kind)]
    rated = [*absolute.criteria, *([("thumbs", absolute.thumbs)] if absolute.thumbs else [])]
    return agreement_rules.of(
        AgreementEvidence(
            judgments=judgments,
            raw=overall.raw,
            alpha=overall.alpha,
            has_orders=bool(overall.judgments) or (kind.is_ordering and not rated),
            rated=tuple(CriterionAgreement(name, one.alpha, one.pairable) for name, one in rated),
            voters=max([overall.labelers, *(one.labelers for _, one in rated)]),
            active=gates.count_labelers(session, project.id),
            habits=habits(session, project, labeler_quality.of_project(session, project.id)),
            disputed=agreement.lowest(session, project.id).total,
            where=where,
        )
    )


def _agreement_of(
    session: Session, project: Project, round_id: int | None = None, where: str = ""
) -> PageVerdict | None:
    """Return the verdict on agreement from its summary; None while it is being computed."""
    try:
        overall = agreement.summary(session, project.id, round_id=round_id)
        if overall.judgments:
            absolute, judgments = AbsoluteReport((), None, None, ()), overall.judgments
        else:
            absolute = agreement.on_responses(session, project.id, round_id=round_id)
            rated = [one for _, one in absolute.criteria] + [absolute.thumbs]
            judgments = sum(one.judgments for one in rated if one is not None)
        return _on_agreement(session, project, overall, absolute, judgments, where=where)
    except FigurePending:
        return None


def _unusual(session: Session, project: Project) -> PageVerdict | None:
    try:
        quality = labeler_quality.of_project(session, project.id)
    except FigurePending:
        return None
    return labelers_rules.unusual_of(habits(session, project, quality))


def _step(session: Session, project: Project, step: NextStep) -> StepEvidence:
    job = step.job
    is_stuck = job is not None and job.is_queued and (not job.is_served or bool(job.error))
    has_labelers = gates.count_labelers(session, project.id) > 0
    is_sure: bool | None = True
    if project.goal == Goal.COMPARE:
        is_sure = step.leaders.is_sure if step.leaders else None
    return StepEvidence(step.action, has_labelers, step.results, is_stuck, is_sure)


def _evaluation(
    session: Session, evaluation: Evaluation, results: EvaluationResults | None = None
) -> EvaluationEvidence:
    round_ = round_progress.by_id(session, evaluation.round_id)
    labeling = LabelingProgress(0, 0, 0)
    if round_ is not None:
        labeling = round_progress.labeling_of(session, round_.id, Purpose.EVALUATION)
    return EvaluationEvidence(
        results or evaluations.results(session, evaluation),
        evaluation.state == evaluations.COMPLETE,
        labeling.done,
        labeling.wanted,
        RoundState(round_.state) if round_ else None,
        round_.number if round_ else 0,
        _waiting(session, round_, Gate.EVALUATION),
    )


def _evaluation_of(session: Session, checkpoint: Checkpoint) -> Evaluation | None:
    """Return the evaluation of a policy in the round that trained it."""
    if checkpoint.kind != CheckpointKind.POLICY or checkpoint.round_id is None:
        return None
    evaluation = evaluations.of_round(session, checkpoint.round_id)
    is_of_it = evaluation is not None and evaluation.new_checkpoint_id == checkpoint.id
    return evaluation if is_of_it else None


def _check(session: Session, checkpoint: Checkpoint) -> tuple[str, bool]:
    """Return why a check bears on a model, and whether its round waits at it."""
    own = {CheckpointKind.REWARD: Gate.REWARD, CheckpointKind.POLICY: Gate.POLICY}
    gate = own.get(CheckpointKind(checkpoint.kind))
    if gate is None:
        return "", False
    waiting = _waiting(session, round_progress.by_id(session, checkpoint.round_id), gate)
    if waiting:
        return waiting, True
    raised = gate_views.of_checkpoint(session, checkpoint)
    return next((view.sentence for view in raised if view.row.gate == gate), ""), False


def _waiting(session: Session, round_: Round | None, gate: Gate) -> str:
    """Return why a round waits at a check; empty if it does not."""
    if round_ is None or round_.state != RoundState.GATED:
        return ""
    views = gate_views.waiting(session, round_)
    return next((view.verdict.reason for view in views if view.row.gate == gate), "")


def _reward(checkpoint: Checkpoint) -> RewardEvidence | None:
    lines = loop_overview.reward_lines(checkpoint)
    if lines is None:
        return None
    worth: Any = checkpoint.metrics.get("label_value")
    more = None
    if isinstance(worth, Mapping):
        more = worth["more"]["accuracy"] - worth["measured"][-1]["accuracy"]
    return RewardEvidence(lines.accuracy, lines.low, lines.high, lines.human, more)
