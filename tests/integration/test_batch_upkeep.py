"""What the maintenance run does for batches, and what becomes of an item whose instance was lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.batches import PATH, Function, model, running_function
from tests.support.on_lambda import of_caller, send_event
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function")) as running:
        yield running


async def waiting(function: Function) -> tuple[str, str]:
    """A batch, and the token by which the engine waits for its approval."""
    id = await function.create(model(tokens=2), approval="before_release")
    assert (await function.run(id))["next"] == "approval"
    return id, await function.wait(id)


async def test_what_was_stored_and_not_started_is_started(function: Function) -> None:
    function.aws.refused.add("StartExecution")
    try:
        id = await function.create(model())
    finally:
        function.aws.refused.clear()
    assert f"{id}-1" not in function.aws.executions
    assert (await function.get(id))["status"] == "queued"
    await function.maintain()
    assert f"{id}-1" in function.aws.executions
    starts = function.aws.calls["StartExecution"]
    await function.maintain()
    assert function.aws.calls["StartExecution"] == starts


async def test_what_never_starts_expires_all_the_same(function: Function) -> None:
    function.aws.refused.add("StartExecution")
    try:
        id = await function.create(model())
        await function.maintain()
        assert (await function.get(id))["status"] == "queued"
        function.execute("UPDATE batches SET deadline = clock_timestamp() WHERE id = %s", id)
        await function.maintain()
    finally:
        function.aws.refused.clear()
    batch = await function.get(id)
    assert (batch["status"], batch["reason"], batch["items"]["cancelled"]) == ("expired", "deadline", 1)


async def test_cancelled_before_it_was_started(function: Function) -> None:
    function.aws.refused.add("StartExecution")
    try:
        id = await function.create(model())
    finally:
        function.aws.refused.clear()
    assert (await function.post(id, "cancel")).json()["status"] == "cancelled"
    await function.maintain()
    assert f"{id}-1" not in function.aws.executions


async def test_heartbeats_keep_a_batch_waiting(function: Function) -> None:
    id, token = await waiting(function)
    await function.maintain()
    assert (token, "heartbeat") in function.aws.answered
    function.aws.waiting.discard(token)  # the engine gave up
    await function.maintain()
    assert function.rows("SELECT task_token FROM batches WHERE id = %s", id) == [(None,)]


async def test_a_decision_that_could_not_be_told_is_told_later(function: Function) -> None:
    id, token = await waiting(function)
    function.aws.refused.add("SendTaskSuccess")
    try:
        approved = await function.post(id, "approve", by=function.approver)
        assert approved.json()["status"] == "completed"
    finally:
        function.aws.refused.clear()
    assert (token, "success") not in function.aws.answered
    await function.maintain()
    assert (token, "success") in function.aws.answered


@pytest.mark.parametrize("status", ["FAILED", "ABORTED", "TIMED_OUT", "SUCCEEDED"])
async def test_a_batch_whose_execution_was_lost_has_failed(function: Function, status: str) -> None:
    id = await function.create(model(tokens=2), model())
    await function.step("plan", id)
    await function.item(id, 1)
    await function.maintain()
    assert (await function.get(id))["status"] == "running"
    function.aws.executions[f"{id}-1"] = status
    await function.maintain()
    batch = await function.get(id)
    assert (batch["status"], batch["reason"]) == ("failed", "execution_lost")
    assert (batch["items"]["succeeded"], batch["items"]["cancelled"]) == (1, 1)


async def test_a_batch_that_has_just_been_started_is_not_looked_at(function: Function) -> None:
    id = await function.create(model("404"))
    await function.run(id)
    function.execute("UPDATE batches SET looked_at = looked_at - interval '1 h' WHERE id = %s", id)
    before = function.rows("SELECT clock_timestamp()")[0][0]
    assert (await function.post(id, "retry")).status_code == 200
    assert function.rows("SELECT started, looked_at > %s FROM batches WHERE id = %s", before, id) == [(True, True)]


async def test_what_an_item_began_is_known_for_as_long_as_the_batch_lasts(function: Function) -> None:
    id = await function.create(asked := model(tokens=2))
    await function.step("plan", id)
    await function.item(id)
    old = "UPDATE idempotency_keys SET created_at = created_at - interval '2 days' WHERE starts_with(key, %s)"
    function.execute(old, f"batch:{id}")
    await function.maintain()
    running_again = "UPDATE batch_items SET status = 'running', completion_id = NULL WHERE batch_id = %s"
    function.execute(running_again, id)
    function.execute("UPDATE batches SET running = 1, succeeded = 0 WHERE id = %s", id)
    assert await function.item(id) == {"outcome": "done"}
    assert await function.step("settle", id) == {"next": "end"}
    assert len(function.asked(asked)) == 1
    await function.maintain()
    assert function.rows("SELECT FROM idempotency_keys WHERE starts_with(key, %s)", f"batch:{id}") == []


async def test_an_item_whose_log_is_gone_is_what_its_completion_came_to(function: Function) -> None:
    id = await function.create(model(tokens=2), model("error-mid"))
    await function.step("plan", id)
    before = "SELECT status, error FROM batch_items WHERE batch_id = %s ORDER BY position"
    for position in (1, 2):
        await function.item(id, position)
    ended = function.rows(before, id)
    function.execute("UPDATE batch_items SET status = 'running', error = NULL WHERE batch_id = %s", id)
    function.execute("UPDATE batches SET running = 2, succeeded = 0, failed = 0 WHERE id = %s", id)
    function.execute("DELETE FROM completion_logs")
    for position in (1, 2):
        assert await function.item(id, position) == {"outcome": "done"}
    assert [status for status, _ in ended] == ["succeeded", "failed"]
    assert function.rows(before, id) == ended


async def test_old_batches_are_deleted_with_all_they_have(function: Function) -> None:
    id = await function.create(model(tokens=1))
    await function.run(id)
    await function.maintain()
    assert (await function.get(id))["status"] == "completed"
    function.execute("UPDATE batches SET finished_at = finished_at - interval '31 days' WHERE id = %s", id)
    await function.maintain()
    assert (await function.front.get(f"{PATH}/{id}", headers=of_caller())).status_code == 404
    assert function.rows("SELECT count(*) FROM batch_items WHERE batch_id = %s", id) == [(0,)]
    assert function.rows("SELECT count(*) FROM batch_events WHERE batch_id = %s", id) == [(0,)]


async def test_an_item_whose_instance_was_killed_is_not_paid_for_again(postgres: Postgres, tmp_path: Path) -> None:
    async with running_function(postgres, tmp_path, instances=2, lease=1) as function:
        id = await function.create(asked := model(tokens=400, rate=20), model(tokens=2))
        await function.step("plan", id)
        async with asyncio.TaskGroup() as tasks:
            lost = tasks.create_task(_sent(function, id))
            async with asyncio.timeout(20):
                while not function.rows("SELECT FROM completion_events"):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            function.services[1].kill()
            await lost
        event = {"headwater": "batch_item", "batch_id": id, "round": 1, "position": 1}
        again = await send_event(function.front, event)
        assert again.json() == {"outcome": "done"}
        [first, _] = function.rows("SELECT status, error FROM batch_items WHERE batch_id = %s ORDER BY position", id)
        assert first[0] == "failed"
        assert b'"interrupted"' in first[1]
        assert len(function.asked(asked)) == 1


async def _sent(function: Function, id: str) -> None:
    with pytest.raises(httpx.TransportError):
        await function.item(id, 1)
