"""The versions of the instruction: what each says, what was made under it, and what changed."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from app.domain import text_diff
from app.domain.text_diff import Piece
from app.models import Instruction
from app.services.project import instructions
from app.services.project.instructions import InstructionUse
from app.web import addresses
from app.web.deps import LeadAccess
from app.web.render import render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class InstructionPage:
    """Every version, newest first, and the changes from one to another."""

    history: list[Instruction]
    authors: dict[int, str]
    uses: dict[int, InstructionUse]
    old: Instruction
    new: Instruction
    pieces: list[Piece]

    @property
    def changes(self) -> list[tuple[str, list[Piece]]]:
        """The changes, as the template of the guidelines takes them."""
        return [("Changes", self.pieces)] if self.pieces else []


@router.get("/p/{slug}/settings/instruction")
def show(
    request: Request,
    access: LeadAccess,
    old: Annotated[int | None, Query()] = None,
    new: Annotated[int | None, Query()] = None,
) -> Response:
    """Show the versions, and the changes between two of them; by default the latest change."""
    session, project = access.session, access.project
    later = instructions.get(session, project.id, new or project.instruction_version)
    earlier = instructions.get(session, project.id, old or max(later.version - 1, 1))
    page = InstructionPage(
        instructions.history(session, project.id),
        instructions.authors(session, project.id),
        instructions.uses(session, project.id),
        earlier,
        later,
        text_diff.pieces(earlier.text, later.text),
    )
    return render(request, "instruction/page.html", page)
