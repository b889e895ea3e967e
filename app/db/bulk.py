"""Many rows at once: lookups by a list of values, ids in advance, and inserts without the ORM.

A lookup is the same statement for any number of values, so that databases prepare it once. Rows are
inserted with COPY on PostgreSQL and one repeated statement on SQLite; their values pass through the
column types like any others. Column defaults of the models do not apply: callers name every column
that must not be null.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    JSON,
    BindParameter,
    ColumnElement,
    Dialect,
    Select,
    String,
    any_,
    bindparam,
    column,
    func,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.schema import Table
from sqlalchemy.types import TypeEngine, UserDefinedType

from app.db import copying, foreign_keys
from app.db.base import Base, Identified
from app.db.copying import Copier
from app.db.foreign_keys import HeldRows

# The offset keeps the planner from looking a sequence up again for each id. One row of all ids is
# quicker to read than a row for each.
_NEXT_IDS = text(
    "SELECT ARRAY(SELECT nextval(ids.sequence) FROM generate_series(1, ids.number)) FROM ("
    "SELECT given.place, given.number, "
    "CAST(pg_get_serial_sequence(quote_ident(given.name), 'id') AS regclass) AS sequence "
    "FROM unnest(CAST(:names AS text[]), CAST(:numbers AS integer[])) "
    "WITH ORDINALITY AS given(name, number, place) OFFSET 0) AS ids ORDER BY ids.place"
)
# The pages that a table had when it was counted, and those that it has now. An empty one is not
# counted: statements planned for no rows would read all that follow, until the next count.
_GROWN = text(
    "SELECT table_.relname FROM pg_class AS table_ "
    "JOIN pg_stat_user_tables AS use ON use.relid = table_.oid "
    "WHERE table_.oid = ANY(SELECT CAST(quote_ident(name) AS regclass) "
    "FROM unnest(CAST(:names AS text[])) AS name) AND pg_relation_size(table_.oid) > 0 "
    "AND (coalesce(use.last_analyze, use.last_autoanalyze) IS NULL "
    "OR pg_relation_size(table_.oid) "
    "> 1.5 * table_.relpages * CAST(current_setting('block_size') AS integer)) "
    "ORDER BY table_.relname"
)
_STORING = "storing"


def is_postgresql(session: Session) -> bool:
    """Return whether many can write at once."""
    return session.get_bind().dialect.name == "postgresql"


def among(
    session: Session,
    of: InstrumentedAttribute[Any] | ColumnElement[Any],
    values: Collection[int] | Collection[str],
) -> ColumnElement[bool]:
    """Return the condition that a column has one of these values, however many there are."""
    unique = list(dict.fromkeys(values))
    if is_postgresql(session):
        return of == any_(_array(of, unique))
    listed = func.json_each(literal(json.dumps(unique))).table_valued(column("value"))
    return of.in_(select(listed.c.value))


def with_pairs(
    session: Session,
    first: InstrumentedAttribute[Any],
    second: InstrumentedAttribute[Any],
    pairs: Collection[tuple[int, int | str]],
    columns: Sequence[InstrumentedAttribute[Any]],
    *conditions: ColumnElement[bool] | InstrumentedAttribute[bool],
) -> Select[Any]:
    """Select columns of the rows that have one of these pairs of values in two of their columns.

    Each pair is looked up on its own: two lists would be tried in every combination.
    """
    unique = list(dict.fromkeys(pairs))
    if is_postgresql(session):
        lists = [_array(of, [pair[at] for pair in unique]) for at, of in enumerate((first, second))]
        wanted = func.unnest(*lists).table_valued("a", "b").render_derived()
        matches = select(*columns).where(first == wanted.c.a, second == wanted.c.b, *conditions)
        # The offset keeps the planner from going through the table once for each of its rows.
        match = matches.offset(0).lateral()
        return select(*match.c).select_from(wanted.join(match, true()))
    listed = func.json_each(literal(json.dumps(unique))).table_valued(column("value"))
    parts = [func.json_extract(listed.c.value, f"$[{at}]") for at in (0, 1)]
    on = (first == parts[0]) & (second == parts[1])
    return select(*columns).select_from(listed).join(first.class_, on).where(*conditions)


@dataclass(slots=True)
class Storing:
    """What transactions that store one batch after the other share, on PostgreSQL.

    Rows are sent by the copier while the next ones are made. Ids that were reserved and not needed
    are left to the next batch. Without `fires_triggers`, foreign keys are checked for all rows at
    once if the role may do so, and other triggers of the tables do not fire either.
    """

    copier: Copier
    fires_triggers: bool = True
    ids: dict[str, list[int]] = field(default_factory=dict)  # by table, descending
    held: HeldRows = field(default_factory=HeldRows)  # by the transaction


def share(session: Session, storing: Storing) -> None:
    """Let this transaction store rows with what the ones before it have left."""
    if is_postgresql(session):
        session.info[_STORING] = storing
        storing.held = HeldRows()
        if not storing.fires_triggers:
            storing.fires_triggers = not foreign_keys.may_be_skipped(session.connection())


def reserve_ahead(session: Session, wanted: Mapping[type[Identified], int]) -> None:
    """Reserve ids for all these rows at once, so that `reserve_ids` needs no statement.

    It does nothing in a transaction that shares nothing with a next one.
    """
    storing: Storing | None = session.info.get(_STORING)
    if storing is None:
        return
    missing = {
        table: lacking
        for model, count in wanted.items()
        if (lacking := count - len(storing.ids.get(table := _table(model).name, ()))) > 0
    }
    if missing:
        for table, ids in zip(missing, _next_ids(session, missing), strict=True):
            storing.ids[table] = [*reversed(ids), *storing.ids.get(table, ())]


def reserve_ids(session: Session, model: type[Identified], count: int) -> list[int]:
    """Return ids for new rows, ascending; nobody else gets them."""
    if not count:
        return []
    table = _table(model).name
    storing: Storing | None = session.info.get(_STORING)
    if storing is not None and len(held := storing.ids.get(table, [])) >= count:
        taken = held[-count:]
        del held[-count:]
        return taken[::-1]
    if is_postgresql(session):
        return _next_ids(session, {table: count})[0]
    # SQLite has one writer, which is this transaction, and counts on from the largest id.
    session.flush()
    last = session.connection().exec_driver_sql(f"SELECT max(id) FROM {table}").scalar() or 0
    return list(range(last + 1, last + 1 + count))


def insert(
    session: Session,
    model: type[Base],
    columns: Sequence[str],
    rows: Collection[Sequence[Any]],
    *,
    written: Collection[str] = (),
) -> None:
    """Insert rows whose values are in the order of the columns.

    `written` are JSON columns whose values are JSON already, as text.
    """
    if not rows:
        return
    session.flush()
    connection, table = session.connection(), _table(model)
    by_column = _converted(connection.dialect, table, columns, rows, written)
    if connection.dialect.name == "postgresql":
        rows_text = copying.lines(by_column)
        storing: Storing | None = session.info.get(_STORING)
        if storing is None:
            copying.send(connection, table.name, columns, rows_text)
            return
        referred = None
        if not storing.fires_triggers:
            referred = storing.held.lacking(table, columns, by_column)
        storing.copier.send(connection, table.name, columns, rows_text, referred)
    else:
        names, places = ", ".join(columns), ", ".join("?" for _ in columns)
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({places})"
        connection.exec_driver_sql(statement, list(zip(*by_column, strict=True)))


def update(session: Session, of: InstrumentedAttribute[str], values: Mapping[int, str]) -> None:
    """Set a column of the rows with these ids, each to its own value, in one statement.

    Objects that the session holds keep the former value until they are refreshed.
    """
    if not values:
        return
    session.flush()
    table = _table(of.parent.class_)
    row_id: ColumnElement[Any]
    value: ColumnElement[Any]
    if is_postgresql(session):
        ids = bindparam(None, list(values), type_=ARRAY(table.c.id.type))
        texts = bindparam(None, list(values.values()), type_=ARRAY(of.type))
        wanted = func.unnest(ids, texts).table_valued("a", "b").render_derived()
        row_id, value = wanted.c.a, wanted.c.b
    else:
        pairs = literal(json.dumps(list(values.items())))
        wanted = func.json_each(pairs).table_valued(column("value"))
        row_id, value = (func.json_extract(wanted.c.value, f"$[{at}]") for at in (0, 1))
    statement = table.update().where(table.c.id == row_id).values({of.key: value})
    session.execute(statement)


def prefer_indexes(session: Session) -> None:
    """Let this transaction find rows by index, even in tables that were small a moment ago.

    PostgreSQL keeps the plans of foreign-key checks and prepared statements. One made for a nearly
    empty table reads all of it, and goes on to do so while the table grows.
    """
    if is_postgresql(session):
        settings = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
        session.execute(select(*(func.set_config(name, "off", true()) for name in settings)))


def commit_soon(session: Session) -> None:
    """Let PostgreSQL write the commit of this transaction to disk a moment later.

    A crash of the server may lose it, but nothing else, and never if a later commit that was waited
    for has been kept. It is for work that resumes from what has been stored.
    """
    if is_postgresql(session):
        session.execute(select(func.set_config("synchronous_commit", "off", true())))


def analyze(session: Session, *models: type[Base]) -> None:
    """Let PostgreSQL count what the tables hold now, so that its plans suit their size.

    Texts and objects without a limit are left out, and with them the words of the word indexes:
    counting those takes longer than storing them. The server's own analysis counts them later; this
    one does not put it off. Tables that are hardly larger than when they were last counted are
    passed over: counting a large one takes as long as storing a thousand rows.
    """
    if not is_postgresql(session):
        return
    tables = {table.name: table for table in map(_table, models)}
    grown = session.scalars(_GROWN, {"names": list(tables)}).all()
    if grown:
        named = (f'"{name}" ({", ".join(_short_columns(tables[name]))})' for name in grown)
        session.execute(text(f"ANALYZE {', '.join(named)}"))


def _short_columns(table: Table) -> list[str]:
    return [column.name for column in table.c if not _is_unlimited(column.type)]


def _is_unlimited(of: TypeEngine[Any]) -> bool:
    return isinstance(of, JSON) or (isinstance(of, String) and of.length is None)


class _ArrayText(UserDefinedType[Any]):
    """An array that is passed as PostgreSQL writes it: psycopg takes 13 µs to write a text."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, element: str) -> None:
        self.element = element

    def get_col_spec(self, **_options: Any) -> str:
        """Return the type's name."""
        return f"{self.element}[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Return what turns a list into text."""
        del dialect
        return _array_text


def _array(
    of: InstrumentedAttribute[Any] | ColumnElement[Any], values: Sequence[Any]
) -> BindParameter[Any]:
    """Return a parameter with values of a column's type."""
    is_text = isinstance(of.type, String)
    return bindparam(None, values, type_=_ArrayText("VARCHAR" if is_text else "BIGINT"))


def _array_text(values: Sequence[Any]) -> str:
    if not values or isinstance(values[0], int):
        return "{" + ",".join(map(str, values)) + "}"
    joined = "".join(values)
    if "\\" in joined or '"' in joined:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}'


def _next_ids(session: Session, numbers: Mapping[str, int]) -> Sequence[list[int]]:
    """Return ascending ids of each table."""
    parameters = {"names": list(numbers), "numbers": list(numbers.values())}
    return [sorted(ids) for ids in session.scalars(_NEXT_IDS, parameters)]


def _table(model: type[Any]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _converted(
    dialect: Dialect,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    written: Collection[str],
) -> list[Sequence[Any]]:
    """Return the values of each column, converted as its type does."""
    by_column: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for at, name in enumerate(columns):
        converter = _converter(dialect, table.c[name].type)
        if converter is not None and name not in written:
            by_column[at] = _converted_column(converter, by_column[at])
    return by_column


def _converter(dialect: Dialect, of: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(of, JSON) and dialect.name == "postgresql":
        return json.dumps  # COPY takes it as text
    return of.dialect_impl(dialect).bind_processor(dialect)


def _converted_column(convert: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    """Convert what many rows share only once: the time, or an empty list."""
    first = values[0]
    # Equal lists and objects may be written differently: [1] and [true].
    if (not isinstance(first, list | dict) or not first) and values.count(first) == len(values):
        return [convert(first)] * len(values)
    known: dict[object, Any] = {}

    def converted(value: Any) -> Any:
        if isinstance(value, list | dict):
            return convert(value)
        if value not in known:
            known[value] = convert(value)
        return known[value]

    return [converted(value) for value in values]
