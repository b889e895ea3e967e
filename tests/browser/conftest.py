from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.db import Database
from app.settings import Settings
from tests.browser.desk import STATES, House, chromium
from tests.conftest import quick_app
from tests.live import serve


@pytest.fixture(autouse=True)
def _states(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Record in how many states axe looked at a page."""
    before = len(STATES)
    yield
    record_property("states", len(STATES) - before)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give the one browser of this worker."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def house(
    browser: Browser, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Give the one served application of this worker; each test furnishes its own projects."""
    folder = tmp_path_factory.mktemp("house")
    path = folder / "attune.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{path}"
    database = Database(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATTUNE_TEST_REQUIRE", raising=False)
        settings = Settings(
            data_dir=folder, database_url=url, secret_key="s" * 40, allowed_base_models="*"
        )
    with serve(quick_app(settings, database)) as address:
        yield House(browser, address, database)
    database.dispose()
