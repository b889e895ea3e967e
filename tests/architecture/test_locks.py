"""A locked row is read again: whoever waited for the lock must not go by what it was before.

SQLAlchemy keeps an object that the session has already; `populate_existing` refreshes it. Columns
are always read anew, and a lock that only orders transactions needs no row.
"""

import ast
from collections.abc import Iterator

from tests.architecture.test_rules import ROOT

LOCK, REFRESH = "with_for_update", "populate_existing"


def stale_locks(tree: ast.Module) -> list[int]:
    """Return the lines that lock rows and may go on with what the session knew before."""
    return sorted({line for scope in _scopes(tree) for line in _stale_in(scope)})


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node
    yield from (node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))


def _stale_in(scope: ast.AST) -> Iterator[int]:
    text = ast.unparse(scope)
    if LOCK not in text or REFRESH in text:
        return
    unused = {id(node.value) for node in ast.walk(scope) if isinstance(node, ast.Expr)}
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call) or id(node) in unused:
            continue
        named = {keyword.arg for keyword in node.keywords}
        locks_one = LOCK in named and ast.unparse(node.func).endswith((".get", ".get_one"))
        if locks_one or any(_is_table(argument) for argument in _locked(node)):
            yield node.lineno


def _locked(node: ast.Call) -> list[ast.expr]:
    """Return what a `select(…)….with_for_update(…)` selects; nothing for any other call."""
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == LOCK):
        return []
    inner: ast.expr = node.func.value
    while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
        inner = inner.func.value
    return inner.args if isinstance(inner, ast.Call) else []


def _is_table(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Name) and argument.id[:1].isupper()


def test_a_locked_row_is_read_again() -> None:
    found = []
    locking = 0
    for path in (path for name in ("app", "worker") for path in (ROOT / name).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if LOCK in text:
            locking += 1
            found += [f"{path.relative_to(ROOT)}:{line}" for line in stale_locks(ast.parse(text))]
    assert found == []
    assert locking > 10


def test_a_planted_stale_lock_is_found() -> None:
    planted = """
def use(session, key):
    row = session.scalar(select(Invitation).where(Invitation.id == key).with_for_update())

def count(session, key):
    job = session.get(Job, key, with_for_update=True)

def order(session, key):
    session.get(Project, key, with_for_update=True)
    return session.scalar(select(Project.id).with_for_update())

def again(session, key):
    return session.get(Job, key, with_for_update=True, populate_existing=True)

LOCK = select(Comparison).with_for_update()
"""
    assert stale_locks(ast.parse(planted)) == [3, 6, 15]
