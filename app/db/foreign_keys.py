"""Foreign keys of the rows of a COPY, checked with a statement for each table that they lead to.

PostgreSQL checks keys with triggers, row by row, which is more than a third of what it takes to
store a preference. Where the role may turn these off for the length of a COPY, the same is made
sure of for all rows at once: a row that is referred to has been inserted by this transaction, or it
exists and is locked until the transaction ends (decision 0029).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import Table

Referred = Mapping[str, Sequence[int]]
"""Ids by the table that they are of."""

_MAY_SET = "SELECT has_parameter_privilege('session_replication_role', 'SET')"


class HeldRows:
    """The rows that cannot vanish before a transaction ends, because it inserted or locked them."""

    def __init__(self) -> None:
        self._ids: dict[str, set[int]] = {}

    def lacking(
        self, table: Table, columns: Sequence[str], by_column: Sequence[Sequence[Any]]
    ) -> Referred:
        """Return the ids that new rows refer to and that are not held yet; count them as held.

        Args:
            table: that the rows are inserted into; its keys lead to the ids of other tables.
            columns: that the rows have.
            by_column: the values of each.

        """
        values = dict(zip(columns, by_column, strict=True))
        if "id" in values:  # first: rows may refer to one another
            self._ids.setdefault(table.name, set()).update(values["id"])
        lacking: dict[str, set[int]] = {}
        for key in table.foreign_keys:
            if key.parent.name in values:
                target = key.column.table.name
                held = self._ids.setdefault(target, set())
                lacking.setdefault(target, set()).update(
                    set(values[key.parent.name]) - held - {None}
                )
        for target, ids in lacking.items():
            self._ids[target] |= ids
        return {target: sorted(ids) for target, ids in sorted(lacking.items()) if ids}


def may_be_skipped(connection: Connection) -> bool:
    """Return whether the role may store rows without the triggers that check their keys."""
    return bool(connection.exec_driver_sql(_MAY_SET).scalar())


def hold(cursor: Any, table: str, referred: Referred) -> None:
    """Lock the rows that rows of a table refer to against being deleted, as a trigger would.

    Raises:
        IntegrityError: one of them does not exist.
    """
    for target, ids in referred.items():
        query = f'SELECT id FROM "{target}" WHERE id = ANY(%s) FOR KEY SHARE'
        cursor.execute(query, [list(ids)])
        missing = set(ids) - {id for (id,) in cursor.fetchall()}
        if missing:
            said = f"a row of {table} refers to {target} {min(missing)}, which does not exist"
            raise IntegrityError(query, None, LookupError(said))
