"""Comparisons: searching them, one with its judgments, settling disputes, steering the queue."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import Form, Query, Request, Response

from app.db.keyset import BY_KEY, NEWEST_FIRST, ListOrder
from app.domain.judgment_kinds import STRENGTH_NAMES, JudgmentKind
from app.errors import AttuneError, FigurePending, Invalid
from app.models import Comparison, Purpose
from app.services.datasets import comparison_requests, imported_votes
from app.services.judging import ai_judgments
from app.services.people import accounts
from app.services.project import word_backlog
from app.services.quality import (
    adjudication,
    comparison_details,
    comparison_search,
    waiting_prompts,
)
from app.services.quality.comparison_search import ComparisonFilter
from app.services.queue import steering
from app.services.rounds import judging_flow, round_progress
from app.web import addresses, list_orders, page_words
from app.web.comparison_view import ComparisonPage
from app.web.deps import LeadAccess, ProjectAccess
from app.web.judgment_kinds import PAGE_KINDS, SettlementForm
from app.web.list_orders import NUMBER, Before, Direction, ListLinks, Sort
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()

LOW = "low"
LOWEST_FIRST = ListOrder("agreement", is_ascending=True)
STATES = {
    "": "All states",
    "open": "Needs judgments",
    "judged": "Complete",
    LOW: "Disputed, lowest agreement first",
    "settled": "Settled",
    "flagged": "Flagged",
    "withdrawn": "Withdrawn",
}


@dataclass(frozen=True, slots=True)
class ComparisonsPage:
    """A page of comparisons, and the filter that selected them."""

    listed: comparison_search.ListedComparisons
    links: ListLinks
    asked: ComparisonFilter
    states: dict[str, str]
    kind: JudgmentKind
    waiting: int  # prompts that labelers could still be asked about
    unindexed: int  # texts that a search does not find yet
    has_rounds: bool  # the project has had one

    @property
    def purposes(self) -> Iterable[tuple[str, str]]:
        """The purposes of comparisons in words."""
        return page_words.PURPOSES.items()

    @property
    def verb(self) -> str:
        """What labelers do with the responses."""
        return PAGE_KINDS[self.kind].verb


@router.get("/p/{slug}/comparisons")
def show(
    request: Request,
    access: LeadAccess,
    purpose: Annotated[Purpose | Literal[""], Query()] = "",
    round: Annotated[int | Literal[""], Query()] = "",
    state: Annotated[str, Query()] = "",
    q: Annotated[str, Query()] = "",
    prompt: Annotated[int | Literal[""], Query()] = "",
    between: Annotated[str, Query()] = "",
    sort: Sort = "",
    order: Direction = "",
    before: Before = "",
) -> Response:
    """List comparisons."""
    known = state if state in STATES else ""
    wanted = _wanted(known, list_orders.read(sort, order, before, ""))
    asked = ComparisonFilter(
        purpose or None,
        _number(round),
        known,
        q,
        _number(prompt),
        wanted.after,
        wanted.is_ascending,
        _two(between),
    )
    listed = comparison_search.page(access.session, access.project.id, asked)
    links = _links(asked, wanted, listed.after)
    kind = access.project.judgment_kind
    waiting = waiting_prompts.count(access.session, access.project)
    unindexed = word_backlog.waiting(access.session, access.project.id)
    has_rounds = round_progress.has_any(access.session, access.project.id)
    page = ComparisonsPage(listed, links, asked, STATES, kind, waiting, unindexed, has_rounds)
    return render(request, "comparisons/page.html", page)


@router.post("/p/{slug}/comparisons")
def ask(request: Request, access: LeadAccess, most: Annotated[int, Form()] = 500) -> Response:
    """Ask labelers about prompts or responses that the project already has."""
    requested = comparison_requests.ask(
        access.session, access.project, most=most, actor_id=access.user.id
    )
    notice = f"{requested.made} comparison{'s' if requested.made != 1 else ''} added to the queue."
    if requested.left_out:
        notice += f" {_left_out(requested.left_out)} in a comparison already and left out."
    return redirect(
        request, addresses.path("comparisons.show", slug=access.project.slug), notice=notice
    )


def _wanted(state: str, order: ListOrder) -> ListOrder:
    """Return the order of the list, which disputed comparisons have of their own."""
    if state == LOW:
        return replace(LOWEST_FIRST, after=order.after)
    if order.column != BY_KEY:
        raise Invalid(f"comparisons cannot be sorted by {order.column!r}, only by {NUMBER}")
    return order


def _links(asked: ComparisonFilter, order: ListOrder, after: int | None) -> ListLinks:
    filters = {
        "q": asked.search,
        "state": asked.state,
        "purpose": str(asked.purpose or ""),
        "round": str(asked.round_number or ""),
        "prompt": str(asked.prompt_id or ""),
        "between": ",".join(asked.between or ()),
    }
    following = replace(order, after=after) if after is not None else None
    default = LOWEST_FIRST if asked.state == LOW else NEWEST_FIRST
    return ListLinks(order, following, filters, default)


def _two(names: str) -> tuple[str, str] | None:
    """Return the pseudonyms of two labelers, as in "L2,L4"; None if there are not two."""
    first, _, second = names.partition(",")
    return (first, second) if first and second else None


def _left_out(count: int) -> str:
    if count > comparison_requests.COUNTED_MOST:
        return f"More than {comparison_requests.COUNTED_MOST:,} responses are"
    return f"{count:,} {'response is' if count == 1 else 'responses are'}"


@router.get("/p/{slug}/comparisons/{comparison_id}")
def show_one(request: Request, access: LeadAccess, comparison_id: RowId) -> Response:
    """Show one comparison with all its judgments."""
    return render(request, "comparisons/one.html", _page(access, comparison_id))


@router.post("/p/{slug}/comparisons/{comparison_id}/settle")
def settle(
    request: Request,
    access: LeadAccess,
    comparison_id: RowId,
    form: Annotated[SettlementForm, Form()],
) -> Response:
    """Settle a dispute, and publish the edge case if one was written."""
    comparison = comparison_details.get(access.session, access.project.id, comparison_id)
    try:
        with access.session.begin_nested():
            _settle(access, comparison, form)
    except AttuneError as error:
        page = _page(access, comparison_id, str(error), form)
        return render(request, "comparisons/one.html", page, status=422)
    if form.next:
        return _next_disputed(request, access, comparison_id)
    return redirect(request, _url(access, comparison_id), notice="Settled.")


@router.post("/p/{slug}/comparisons/{comparison_id}/again")
def ask_again(request: Request, access: LeadAccess, comparison_id: RowId) -> Response:
    """Ask the same comparison again, under the newest guidelines."""
    comparison = comparison_details.get(access.session, access.project.id, comparison_id)
    again = adjudication.ask_again(access.session, access.project, comparison)
    notice = "This is the new comparison; the previous one is withdrawn."
    return redirect(request, _url(access, again.id), notice=notice)


@router.post("/p/{slug}/comparisons/{comparison_id}/use")
def use(
    request: Request,
    access: LeadAccess,
    comparison_id: RowId,
    purpose: Annotated[Purpose, Form()],
) -> Response:
    """Ask all labelers a settled comparison, as gold or for practice."""
    comparison = comparison_details.get(access.session, access.project.id, comparison_id)
    settled = adjudication.current(access.session, comparison.id)
    try:
        made = adjudication.use_as(access.session, access.project, settled, purpose)
    except AttuneError as error:
        page = _page(access, comparison_id, str(error))
        return render(request, "comparisons/one.html", page, status=422)
    return redirect(
        request,
        _url(access, made.id),
        notice=f"All labelers will be asked to judge it ({page_words.purpose(purpose)}).",
    )


@router.post("/p/{slug}/comparisons/{comparison_id}/withdraw")
def withdraw(request: Request, access: LeadAccess, comparison_id: RowId) -> Response:
    """Withdraw a comparison; its judgments are kept but no longer count."""
    judging_flow.withdraw(access.session, access.project.id, comparison_id, actor_id=access.user.id)
    return redirect(request, _url(access, comparison_id), notice="Withdrawn.")


@router.post("/p/{slug}/comparisons/{comparison_id}/restore")
def restore(request: Request, access: LeadAccess, comparison_id: RowId) -> Response:
    """Return a withdrawn comparison to the queue."""

    def act() -> None:
        project_id, actor_id = access.project.id, access.user.id
        steering.restore(access.session, project_id, comparison_id, actor_id=actor_id)

    return _steered(request, access, comparison_id, act, "Returned to the queue.")


@router.post("/p/{slug}/comparisons/{comparison_id}/priority")
def set_priority(
    request: Request, access: LeadAccess, comparison_id: RowId, priority: Annotated[int, Form()]
) -> Response:
    """Set the priority of a comparison in the queue."""

    def act() -> None:
        project_id, actor_id = access.project.id, access.user.id
        steering.set_priority(
            access.session, project_id, comparison_id, priority, actor_id=actor_id
        )

    return _steered(request, access, comparison_id, act, f"Priority set to {priority}.")


@router.post("/p/{slug}/comparisons/{comparison_id}/reassign")
def reassign(
    request: Request,
    access: LeadAccess,
    comparison_id: RowId,
    to: Annotated[int, Form()],
    taken_from: Annotated[int | Literal[""], Form()] = "",
) -> Response:
    """Assign a judgment to a labeler, from the queue or from another labeler."""

    def act() -> None:
        steering.reassign(
            access.session,
            access.secret,
            access.project,
            comparison_id,
            to_user_id=to,
            from_user_id=_number(taken_from),
            actor_id=access.user.id,
        )

    notice = "Assigned: it comes first on their page for one day."
    return _steered(request, access, comparison_id, act, notice)


@router.post("/p/{slug}/comparisons/overlap")
def set_overlap(
    request: Request,
    access: LeadAccess,
    overlap: Annotated[int, Form()],
    round: Annotated[int | Literal[""], Form()] = "",
) -> Response:
    """Change the number of judgments wanted for unfinished comparisons."""
    changed = judging_flow.set_overlap(
        access.session,
        access.project.id,
        overlap,
        round_number=_number(round),
        actor_id=access.user.id,
    )
    what = "comparison" if changed == 1 else "comparisons"
    url = addresses.path("comparisons.show", slug=access.project.slug)
    return redirect(request, url, notice=f"{changed:,} {what} changed.")


def _settle(access: ProjectAccess, comparison: Comparison, form: SettlementForm) -> None:
    read = PAGE_KINDS[comparison.kind].settle
    if read is None:
        raise Invalid(f"only picks and rankings can be settled, not kind {comparison.kind}")
    content = read(form).to_json()
    adjudication.settle(
        access.session,
        comparison,
        reason=form.reason,
        adjudicator_id=access.user.id,
        preferred=content.get("preferred"),
        ranking=content.get("ranking"),
        both_bad=content["both_bad"],
        comment=form.comment,
    )
    if form.edge_case.strip():
        adjudication.add_edge_case(
            access.session, access.project, form.edge_case, actor_id=access.user.id
        )


def _next_disputed(request: Request, access: ProjectAccess, settled_id: int) -> Response:
    """Continue with the next disputed comparison; with the list if it is not known yet."""
    settled = f"Comparison {settled_id} is settled."
    low = addresses.path("comparisons.show", slug=access.project.slug) + "?state=low"
    try:
        following = comparison_search.next_disputed(access.session, access.project.id)
    except FigurePending:
        notice = f"{settled} Agreement is still being measured: select the next one here."
        return redirect(request, low, notice=notice)
    if following is None:
        return redirect(request, low, notice=f"{settled} No other dispute is left to settle.")
    return redirect(request, _url(access, following), notice=f"{settled} This is the next one.")


def _steered(
    request: Request,
    access: ProjectAccess,
    comparison_id: int,
    act: Callable[[], None],
    notice: str,
) -> Response:
    try:
        with access.session.begin_nested():
            act()
    except AttuneError as error:
        page = _page(access, comparison_id, str(error))
        return render(request, "comparisons/one.html", page, status=422)
    return redirect(request, _url(access, comparison_id), notice=notice)


def _page(
    access: ProjectAccess, comparison_id: int, error: str = "", form: SettlementForm | None = None
) -> ComparisonPage:
    detail = comparison_details.detail(access.session, access.project.id, comparison_id)
    holders = steering.holders(access.session, comparison_id)
    members = accounts.members(access.session, access.project.id)
    labelers = [member for member in members if not imported_votes.is_imported(member.user)]
    return ComparisonPage(
        detail,
        adjudication.REASONS,
        STRENGTH_NAMES,
        holders,
        labelers,
        form or SettlementForm(),
        error,
        ai_judgments.of_comparison(access.session, comparison_id),
        round_progress.has_any(access.session, access.project.id),
    )


def _number(value: int | Literal[""]) -> int | None:
    return None if value == "" else value


def _url(access: ProjectAccess, comparison_id: int) -> str:
    return addresses.path(
        "comparisons.show_one", slug=access.project.slug, comparison_id=comparison_id
    )
