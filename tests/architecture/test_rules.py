"""Rules that imports cannot state."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "app" / "web" / "pages"
TEMPLATES = ROOT / "templates"


def _sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def _commits(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]


def test_only_the_database_package_commits() -> None:
    outside = [
        f"{path}:{line}"
        for path, tree in _sources("app", "worker")
        if path.parts[:2] != ("app", "db")
        for line in _commits(tree)
    ]
    assert outside == []


def test_a_planted_commit_is_found() -> None:
    assert _commits(ast.parse("def f(session):\n    session.commit()")) == [2]


def test_every_page_module_has_its_templates_and_the_other_way_round() -> None:
    modules = {path.stem for path in PAGES.glob("*.py")} - {"__init__"}
    folders = {path.name for path in TEMPLATES.iterdir() if path.is_dir()} - {"_shared"}
    named = {
        node.value.split("/")[0]
        for _, tree in _sources("app/web/pages")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.endswith(".html")
        and "/" in node.value
    }
    assert modules - folders == set(), "page modules without a template folder"
    assert folders - named == set(), "template folders that no page renders"


def test_a_celery_task_has_three_statements_at_most() -> None:
    tree = ast.parse((ROOT / "worker" / "tasks.py").read_text(encoding="utf-8"))
    tasks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any("task" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert tasks
    for task in tasks:
        body = task.body[1:] if ast.get_docstring(task) else task.body
        assert len(body) <= 3, task.name


def test_untrusted_text_becomes_html_in_one_place() -> None:
    outside = [
        str(path)
        for path, tree in _sources("app", "worker")
        if path != Path("app/web/markdown.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "Markup"
    ]
    assert outside == []
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", ""), path
        assert "autoescape" not in text, path


_ADDRESS = re.compile(r"^/(p|api|jobs|people|tokens|audit)(/|\b)")
_MAY_NAME_ADDRESSES = re.compile(r"router\.|APIRouter|.*\.startswith$")


def _written_addresses(tree: ast.Module) -> list[int]:
    """Return the lines of addresses that are written out, except where routes are declared."""
    exempt = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _MAY_NAME_ADDRESSES.match(ast.unparse(node.func))
        for part in ast.walk(node)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in exempt
        and _ADDRESS.match(node.value)
    ]


def test_addresses_are_found_by_the_names_of_their_routes() -> None:
    outside = [
        f"{path}:{line}" for path, tree in _sources("app/web") for line in _written_addresses(tree)
    ]
    assert outside == []


def test_a_planted_address_is_found() -> None:
    assert _written_addresses(ast.parse('def f(slug):\n    return f"/p/{slug}/rounds"')) == [2]
    assert _written_addresses(ast.parse('@router.get("/p/{slug}")\ndef f(): ...')) == []


def _addresses_in_template(text: str) -> list[str]:
    return re.findall(r"""["']/(?!static/)[a-z]\w*""", text)


def test_templates_ask_for_the_addresses_of_pages() -> None:
    outside = {
        str(path.relative_to(TEMPLATES)): found
        for path in sorted(TEMPLATES.rglob("*.html"))
        if (found := _addresses_in_template(path.read_text(encoding="utf-8")))
    }
    assert outside == {}


def test_a_planted_address_in_a_template_is_found() -> None:
    assert _addresses_in_template('<a href="/p/{{ slug }}/rounds">')
    assert _addresses_in_template('{% set base = "/p/" ~ slug %}')
    assert not _addresses_in_template("<a href=\"{{ path('rounds.show', number=1) }}\">")


_READS = {"execute", "get", "get_one", "scalar", "scalars"}


def _queries(tree: ast.Module) -> list[int]:
    """Return the lines that build a query or read rows through a session."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "select")
            or (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in _READS
                and re.search(r"\bsession$", ast.unparse(node.func.value))
            )
        )
    ]


def test_pages_and_commands_leave_queries_to_the_services() -> None:
    outside = [
        f"{path}:{line}" for path, tree in _sources("app/web", "app/cli") for line in _queries(tree)
    ]
    assert outside == []


def test_a_planted_query_is_found() -> None:
    assert _queries(ast.parse("def f(access):\n    access.session.get(User, 1)")) == [2]
    assert _queries(ast.parse("def f(session):\n    session.scalar(select(User))")) == [2, 2]
    assert _queries(ast.parse("options.get('session')")) == []


LINE_LENGTH = 160


def _long_lines(text: str) -> list[int]:
    return [at for at, line in enumerate(text.split("\n"), 1) if len(line) > LINE_LENGTH]


def test_template_lines_fit_a_screen() -> None:
    outside = [
        f"{path.relative_to(TEMPLATES)}:{line}"
        for path in sorted(TEMPLATES.rglob("*.html"))
        for line in _long_lines(path.read_text(encoding="utf-8"))
    ]
    assert outside == []


def test_a_planted_long_line_is_found() -> None:
    assert _long_lines("<p>\n" + "x" * (LINE_LENGTH + 1) + "\n</p>") == [2]
