"""Batches where nothing is configured that could order them."""

import pytest

from tests.support.api import StartApi
from tests.support.batches import PATH, items, model, running_function
from tests.support.headwater import assert_told
from tests.support.postgres import Postgres
from tests.support.service import StartService


async def test_without_an_engine_nothing_begins_and_all_can_be_read(start_api: StartApi) -> None:
    api = await start_api()
    client = await api.client_with("completions")
    assert_told(await client.post(PATH, json={"items": items("a")}), 501, "no_workflow")
    listed = await client.get(PATH)
    assert (listed.status_code, listed.json()["data"]) == (200, [])
    id = "01980000-0000-7000-8000-000000000000"
    for what in ("retry", "resume"):
        assert_told(await client.post(f"{PATH}/{id}/{what}"), 501, "no_workflow")
    assert_told(await client.get(f"{PATH}/{id}/results"), 404, "not_found")


async def test_where_the_engine_was_taken_away_a_batch_can_be_ended(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, start_service: StartService
) -> None:
    async with running_function(postgres, tmp_path_factory.mktemp("function")) as function:
        id = await function.create(model(), model())
        await function.step("plan", id)
        without = await start_service(database_url=function.database_url)
        headers = {"authorization": function.front.headers["authorization"]}
        async with without.client() as client:
            cancelled = (await client.post(f"{PATH}/{id}/cancel", headers=headers)).json()
        assert (cancelled["status"], cancelled["items"]["cancelled"]) == ("cancelled", 2)
        assert await function.item(id) == {"outcome": "stop"}
        assert await function.step("settle", id) == {"next": "end"}
