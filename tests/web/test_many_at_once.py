"""Far more requests at once than there are threads and connections: each is answered."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.db import Database
from app.main import create_app
from app.services.people import accounts
from app.settings import Settings

MANY = 150
FEW = 5  # connections, besides the ten that the pool adds for a moment; there are forty threads


@pytest.mark.services
def test_threads_do_not_wait_for_connections_of_requests_that_wait_for_threads(
    settings: Settings, postgres_url: str
) -> None:
    database = Database(postgres_url, pool_size=FEW)
    with database.transaction() as session:
        user = accounts.create_user(session, email="a@example.org", name="Ada", password=None)
        token = accounts.create_token(session, user, name="x", scopes=["read"]).secret
    application = create_app(settings, database, threads=FEW)

    async def ask_all() -> list[int]:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            async def ask(number: int) -> int:
                secret = token if number % 2 else "att_nobody"
                headers = {"authorization": f"Bearer {secret}"}
                return (await client.get("/api/v1/projects", headers=headers)).status_code

            return await asyncio.gather(*map(ask, range(MANY)))

    with ThreadPoolExecutor(1) as thread:  # a browser's tests may have left a loop in this one
        statuses = thread.submit(asyncio.run, ask_all()).result()
    assert statuses == [401, 200] * (MANY // 2)
    database.dispose()
