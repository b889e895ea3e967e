"""Labeler weights: the proposal, what it would change, and the weights in use."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Form, Request, Response

from app.domain.labeler_weights import FEWEST, WEIGHT_MOST, Changes, ProposedWeight
from app.domain.reward_parts import LabelerWeight
from app.errors import AttuneError, FigurePending
from app.models import Round
from app.services.quality import kept_figures, weight_proposals, weights_in_use
from app.services.quality.weight_proposals import WeightProposal
from app.services.quality.weights_in_use import WeightsInUse
from app.services.rounds import round_progress
from app.web import addresses, labeler_weights
from app.web.deps import LeadAccess, ProjectAccess
from app.web.errors import PENDING_S
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class LabelerWeightsPage:
    """The proposal (None while it is being computed), the weights in use, and the live round.

    `why_not` says why labelers of this project cannot be weighted; empty if they can.
    """

    proposal: WeightProposal | None
    in_use: WeightsInUse
    why_not: str
    round: Round | None
    as_of: datetime | None = None
    error: str = ""
    fewest: int = FEWEST
    most: float = WEIGHT_MOST

    @property
    def labelers(self) -> list[ProposedWeight]:
        """The labelers in the order they joined."""
        return list(self.proposal.weights) if self.proposal else []

    @property
    def estimated(self) -> dict[str, float]:
        """The proposed weights that can be put to use."""
        return self.proposal.estimated if self.proposal else {}

    @property
    def estimated_text(self) -> str:
        """The same as the text of a form field."""
        weights = self.estimated.items()
        return labeler_weights.to_text(LabelerWeight(name, weight) for name, weight in weights)

    @property
    def is_proposal_in_use(self) -> bool:
        """Whether the weights in use are those proposed now."""
        return bool(self.in_use.weights) and dict(self.in_use.weights) == self.estimated

    @property
    def effect(self) -> str:
        """What the proposed weights would change, in a sentence."""
        return effect(self.proposal.changes) if self.proposal and self.estimated else ""


@router.get("/p/{slug}/agreement/weights")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the proposed weights and those in use."""
    page = _page(access)
    response = render(request, "labeler_weights/page.html", page)
    if page.proposal is None:
        response.headers["refresh"] = str(PENDING_S)
    return response


@router.post("/p/{slug}/agreement/weights")
def use(request: Request, access: LeadAccess, weights: Annotated[str, Form()]) -> Response:
    """Put the weights that the page showed to use."""
    try:
        labelers = labeler_weights.of_text(weights)
        weights_in_use.use(access.session, access.project, labelers, actor_id=access.user.id)
    except AttuneError as error:
        page = _page(access, str(error))
        return render(request, "labeler_weights/page.html", page, status=422)
    notice = "Rounds launched from now on use these weights."
    return redirect(request, _url(access), notice=notice)


@router.post("/p/{slug}/agreement/weights/take-back")
def take_back(
    request: Request, access: LeadAccess, since: Annotated[datetime | None, Form()] = None
) -> Response:
    """Restore the weights before those in use, or none."""
    try:
        restored = weights_in_use.take_back(
            access.session, access.project, since=since, actor_id=access.user.id
        )
    except AttuneError as error:
        page = _page(access, str(error))
        return render(request, "labeler_weights/page.html", page, status=409)
    kept = (
        "The previous weights are in use again." if restored.weights else "No weights are in use."
    )
    return redirect(request, _url(access), notice=kept)


def effect(changes: Changes) -> str:
    """Return in a sentence how many majorities a set of weights would change."""
    noun, verb = ("pair", "was") if changes.units == 1 else ("pairs", "were")
    pairs = f"{changes.units:,} {noun} of responses that {verb} judged"
    parts = [
        f"{count:,} {one if count == 1 else several}"
        for count, one, several in (
            (changes.flipped, "majority would flip", "majorities would flip"),
            (changes.decided_ties, "tie would be decided", "ties would be decided"),
            (changes.undecided, "majority would become a tie", "majorities would become ties"),
        )
        if count
    ]
    if not parts:
        return f"Compared with equal weights, no majority would change among the {pairs}."
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"Compared with equal weights, of the {pairs}, {listed}."


def _page(access: ProjectAccess, error: str = "") -> LabelerWeightsPage:
    session, project = access.session, access.project
    try:
        proposal = weight_proposals.of_project(session, project.id)
    except FigurePending:
        proposal = None
    return LabelerWeightsPage(
        proposal,
        weights_in_use.of_project(session, project),
        weights_in_use.why_not(project),
        round_progress.current(session, project.id),
        kept_figures.as_of(session),
        error,
    )


def _url(access: ProjectAccess) -> str:
    return addresses.path("labeler_weights.show", slug=access.project.slug)
