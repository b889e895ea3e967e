"""The bench of large projects refuses what it could not measure before it begins."""

import pytest

from app.bench import data
from app.errors import Invalid
from app.services.datasets.import_jobs import IMMEDIATE_MOST_BYTES


def test_files_that_would_be_imported_at_once_are_refused_with_the_number_that_is_enough() -> None:
    with pytest.raises(Invalid, match="a file of prompts would have") as refused:
        data.check_rows(10_000)
    enough = int(str(refused.value).rsplit(maxsplit=1)[-1])
    data.check_rows(enough)
    assert 10_000 < enough < 20_000
    assert f"{IMMEDIATE_MOST_BYTES:,} are imported at once" in str(refused.value)
