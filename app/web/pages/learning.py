"""How Attune learns: the glossary of logged metrics, and a page for each algorithm."""

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
class DocumentLink:
    """A link to another page."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class GlossaryPage:
    """The logged metrics, by section."""

    sections: list[tuple[str, list[GlossaryEntry]]]
    opening: str
    others: list[DocumentLink]


@dataclass(frozen=True, slots=True)
class AlgorithmPage:
    """One algorithm."""

    name: str
    document: Document
    others: list[DocumentLink]


@router.get("/learning")
def show_glossary(request: Request, _access: SignedIn) -> Response:
    """Show the glossary."""
    document = _document(glossary.GLOSSARY)
    sections = [
        (title, list(entries))
        for title, entries in groupby(glossary.entries().values(), key=lambda entry: entry.section)
    ]
    page = GlossaryPage(sections, document.sections[0].text, _others())
    return render(request, "learning/page.html", page)


@router.get("/learning/{name}")
def show_algorithm(request: Request, _access: SignedIn, name: str) -> Response:
    """Show one algorithm."""
    if name not in ALGORITHMS:
        raise NotFound(f"there is no page {name!r}; the pages are {', '.join(ALGORITHMS)}")
    return render(request, "learning/one.html", AlgorithmPage(name, _document(name), _others()))


def _document(name: str) -> Document:
    document = glossary.document(name)
    if document is None:
        raise NotFound(f"docs/learning/{name}.md is not installed")
    return document


def _others() -> list[DocumentLink]:
    documents = ((name, glossary.document(name)) for name in ALGORITHMS)
    return [DocumentLink(name, page.title) for name, page in documents if page is not None]
