"""What the engine of batches is answered, step by step, and what comes of it in the store."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.batches import Function, model, running_function
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function")) as running:
        yield running


async def test_a_batch_from_its_beginning_to_its_results(function: Function) -> None:
    one, two = model(tokens=3), model(tokens=4)
    id = await function.create(one, two, parallelism=2, metadata={"for": "the report"})
    assert function.aws.executions == {f"{id}-1": "RUNNING"}
    assert (await function.get(id))["status"] == "queued"
    assert await function.step("plan", id) == {"items": [1, 2], "parallelism": 2}
    assert await function.item(id, 1) == {"outcome": "done"}
    assert await function.item(id, 2) == {"outcome": "done"}
    assert await function.item(id, 2) == {"outcome": "done"}
    assert await function.step("settle", id) == {"next": "end"}
    assert await function.step("settle", id) == {"next": "end"}
    batch = await function.get(id)
    assert (batch["status"], batch["items"]["succeeded"], batch["items"]["total"]) == ("completed", 2, 2)
    first, second = await function.results(id)
    assert (first["custom_id"], first["status"], first["error"]) == ("1", "succeeded", None)
    assert first["completion"]["text"]
    assert second["completion"]["usage"]["output_tokens"] == 4
    assert len(function.asked(one)) == len(function.asked(two)) == 1
    told = [(event["type"], event.get("position"), event["status"]) for event in function.events(id)]
    assert told == [
        ("batch", None, "queued"),
        ("batch", None, "running"),
        ("item", 1, "running"),
        ("item", 1, "succeeded"),
        ("item", 2, "running"),
        ("item", 2, "succeeded"),
        ("batch", None, "completed"),
    ]
