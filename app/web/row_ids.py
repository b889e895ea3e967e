"""Ids of rows in addresses and in JSON, bounded so that the database can compare them."""

from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import Field

ROW_ID_MOST: Final = 2**63 - 1

RowId = Annotated[int, Path(ge=-ROW_ID_MOST, le=ROW_ID_MOST)]
RowIdQuery = Annotated[int | None, Query(ge=-ROW_ID_MOST, le=ROW_ID_MOST)]
RowIdIn = Annotated[int, Field(ge=-ROW_ID_MOST, le=ROW_ID_MOST)]
