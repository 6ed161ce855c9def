"""Without its database the service says so, and goes on when it is back."""

from tests.support.api import running_api
from tests.support.postgres import Postgres
from tests.support.problems import problem
from tests.support.service import ADMIN_KEY


async def test_an_outage_is_a_503_until_it_is_over(private_postgres: Postgres) -> None:
    async with running_api(private_postgres.create_database(), pool_timeout=0.3) as api:
        known, unknown = await api.client_with("conversations"), await api.client_with("conversations")
        assert (await known.get("/v1/conversations")).status_code == 200
        private_postgres.stop()
        for caller in (known, unknown, await api.client(ADMIN_KEY)):
            for path in ("/v1/keys", "/v1/conversations"):
                response = await caller.get(path)
                if response.status_code != 403:
                    assert problem(response) == (503, "database_unavailable")
                    assert response.headers["retry-after"] == "1"
        private_postgres.start()
        await api.pool.check()
        async with api.pool.connection(timeout=20):
            pass  # the pool tries again at growing intervals, of which a busy machine may need one more
        for caller in (known, unknown):
            assert (await caller.get("/v1/conversations")).status_code == 200
