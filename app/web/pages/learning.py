"""What is learned and how: the glossary of logged numbers, and a page per algorithm."""

from dataclasses import dataclass
from itertools import groupby

from fastapi import Request, Response

from app.errors import NotFound
from app.web import addresses, glossary
from app.web.deps import SignedIn
from app.web.glossary import ALGORITHMS, Document, GlossaryEntry
from app.web.render import render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class Other:
    """A page beside this one."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class GlossaryPage:
    """The logged numbers, section by section."""

    sections: list[tuple[str, list[GlossaryEntry]]]
    opening: str
    others: list[Other]


@dataclass(frozen=True, slots=True)
class AlgorithmPage:
    """One algorithm."""

    name: str
    document: Document
    others: list[Other]


@router.get("/learning")
def show_glossary(request: Request, _access: SignedIn) -> Response:
    """Show the glossary."""
    document = _document(glossary.GLOSSARY)
    sections = [
        (title, list(found))
        for title, found in groupby(glossary.entries().values(), key=lambda one: one.section)
    ]
    page = GlossaryPage(sections, document.sections[0].text, _others())
    return render(request, "learning/page.html", page)


@router.get("/learning/{name}")
def show_algorithm(request: Request, _access: SignedIn, name: str) -> Response:
    """Show one algorithm."""
    if name not in ALGORITHMS:
        raise NotFound(f"there is no page {name!r}; there are {', '.join(ALGORITHMS)}")
    return render(request, "learning/one.html", AlgorithmPage(name, _document(name), _others()))


def _document(name: str) -> Document:
    found = glossary.document(name)
    if found is None:
        raise NotFound(f"docs/learning/{name}.md is not installed here")
    return found


def _others() -> list[Other]:
    found = ((name, glossary.document(name)) for name in ALGORITHMS)
    return [Other(name, page.title) for name, page in found if page is not None]
