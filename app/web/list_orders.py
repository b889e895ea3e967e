"""The order of a list in its address: `?sort=category&order=desc`, and the page that it shows.

The links are plain ones, so that an order works without scripts and can be bookmarked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query

from app.db.keyset import BY_KEY, NEWEST_FIRST, ListOrder
from app.web.row_ids import RowIdIn

NUMBER = "number"
"""The column of the key, by which a list is sorted unless asked otherwise, newest first."""

Sort = Annotated[str, Query(description="The column that the list is sorted by.")]
Direction = Annotated[Literal["", "asc", "desc"], Query()]
Before = Annotated[
    RowIdIn | Literal[""], Query(description="The row that the page before ended with.")
]
Value = Annotated[str, Query(description="What that row has in the column.")]


def read(sort: str, direction: str, before: int | Literal[""], value: str) -> ListOrder:
    """Return the order that an address asks for."""
    column = BY_KEY if sort == NUMBER else sort
    is_ascending = direction == "asc" if direction else column != BY_KEY
    return ListOrder(column, is_ascending, None if before == "" else before, value)


@dataclass(frozen=True, slots=True)
class ListLinks:
    """The links of a list's headers, and to its other pages, which keep its filters."""

    order: ListOrder
    next: ListOrder | None
    filters: Mapping[str, str]
    default: ListOrder = NEWEST_FIRST  # the order that an address without one asks for

    @property
    def is_part(self) -> bool:
        """Whether the page has only a part of the list."""
        return self.next is not None or self.order.after is not None

    @property
    def is_newest_first(self) -> bool:
        """Whether the list is in the order that it has unless asked otherwise."""
        return self.order.column == BY_KEY and not self.order.is_ascending

    def direction(self, name: str) -> str:
        """Return how a column is sorted, in the words of aria-sort; empty if it is not."""
        if self.order.column != (BY_KEY if name == NUMBER else name):
            return ""
        return "ascending" if self.order.is_ascending else "descending"

    def sorted_by(self, name: str) -> str:
        """Return the link of a header: sorted by its column, the other way if it is already."""
        return self._link(name, is_ascending=self.direction(name) != "ascending")

    @property
    def kept(self) -> Mapping[str, str]:
        """The fields of a search form that keep the order."""
        if (self.order.column, self.order.is_ascending) == (BY_KEY, False):
            return {}
        direction = "asc" if self.order.is_ascending else "desc"
        return {"sort": self.order.column or NUMBER, "order": direction}

    @property
    def start(self) -> str:
        """The link to the first page."""
        return self._link(self.order.column or NUMBER, is_ascending=self.order.is_ascending)

    @property
    def following(self) -> str:
        """The link to the next page; empty on the last one."""
        if self.next is None:
            return ""
        further = {"before": str(self.next.after)}
        if self.next.column:
            further["value"] = self.next.value
        return self._link(
            self.order.column or NUMBER, is_ascending=self.order.is_ascending, further=further
        )

    def _link(self, name: str, *, is_ascending: bool, further: Mapping[str, str] = {}) -> str:
        query = {name: value for name, value in self.filters.items() if value}
        column = BY_KEY if name == NUMBER else name
        if (column, is_ascending) != (self.default.column, self.default.is_ascending):
            query |= {"sort": name, "order": "asc" if is_ascending else "desc"}
        return "?" + urlencode({**query, **further})
