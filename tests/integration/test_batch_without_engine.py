"""Batches where nothing is configured that could order them."""

from tests.support.api import StartApi
from tests.support.batches import PATH, items
from tests.support.headwater import assert_told


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
