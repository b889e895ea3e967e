"""Agreement: the report, the quality of each labeler, and the most disputed comparisons."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.models import Purpose, Round
from app.services.quality import agreement, labeler_quality, weight_proposals
from app.services.rounds import round_progress
from app.web.agreement_schemas import (
    AgreementOut,
    DisputedComparison,
    WeightProposalOut,
    report_out,
    weight_out,
)
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["agreement"], route_class=GuardedRoute)


@router.get("/agreement")
def report(
    access: LeadAccess,
    round: Annotated[int | None, Query(description="A round's number.")] = None,
    labeler_id: Annotated[int | None, Query(description="A user's comparisons only.")] = None,
    version: Annotated[int | None, Query(description="A version of the guidelines.")] = None,
    source: Annotated[str | None, Query(description="A source of prompts.")] = None,
    category: Annotated[
        Sequence[str], Query(description="Prompts of any of these; (none): without a category.")
    ] = (),
    tag: Annotated[Sequence[str], Query(description="Prompts with any of these tags.")] = (),
    purpose: Purpose = Purpose.TRAIN,
    chosen: Annotated[
        bool, Query(description="Include comparisons that a rule chose; they are not typical.")
    ] = False,
) -> AgreementOut:
    """Return the agreement report; an undefined statistic comes with the reason."""
    session, project_id = access.session, access.project.id
    of_round: Round | None = (
        round_progress.get(session, project_id, round) if round is not None else None
    )
    agreement_report = agreement.report(
        session,
        project_id,
        round_id=of_round.id if of_round else None,
        labeler_id=labeler_id,
        purpose=purpose,
        version=version,
        source=source,
        categories=tuple(category),
        tags=tuple(tag),
        chosen=chosen,
    )
    return report_out(agreement_report, labeler_quality.of_project(session, project_id))


@router.get("/agreement/weights")
def weights(access: LeadAccess) -> WeightProposalOut:
    """Propose a weight for each labeler from agreement and gold, and count what would change.

    Nothing is applied: put the weights to use with `PUT …/agreement/weights/in-use`, or pass them
    in a round's plan as `reward.labelers`.
    """
    proposal = weight_proposals.of_project(access.session, access.project.id)
    return WeightProposalOut(
        labelers=[weight_out(labeler) for labeler in proposal.weights],
        weights=proposal.estimated,
        pairs=proposal.changes.units,
        flipped=proposal.changes.flipped,
        decided_ties=proposal.changes.decided_ties,
        undecided=proposal.changes.undecided,
    )


@router.get("/agreement/lowest")
def lowest(
    access: LeadAccess,
    response: Response,
    below: Annotated[float, Query(ge=0, le=1)] = agreement.LOW,
    settled: Annotated[bool, Query(description="Include those that a lead has settled.")] = False,
) -> list[DisputedComparison]:
    """Return the comparisons with the lowest agreement, lowest first: at most a thousand.

    The header `X-Total-Count` counts them all.
    """
    low = agreement.lowest(access.session, access.project.id, below=below, settled=settled)
    response.headers["x-total-count"] = str(low.total)
    return [DisputedComparison(comparison_id=name, agreement=value) for name, value in low.rows]
