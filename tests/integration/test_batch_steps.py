"""What the engine of batches is answered, step by step, and what comes of it in the store."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.batches import PATH, Function, items, model, running_function
from tests.support.on_lambda import of_caller, send_event
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function"), instances=2) as running:
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


async def test_an_item_that_is_tried_again_finds_what_it_has_begun(function: Function) -> None:
    id = await function.create(asked := model(tokens=30, rate=20))
    await function.step("plan", id)
    event = {"headwater": "batch_item", "batch_id": id, "round": 1, "position": 1}
    everywhere = [send_event(client, event) for client in (function.worker, function.front, function.worker)]
    answers = await asyncio.gather(*everywhere)
    assert [answer.json() for answer in answers] == [{"outcome": "done"}] * 3
    assert len(function.asked(asked)) == 1
    assert [event["status"] for event in function.events(id) if event["type"] == "item"] == ["running", "succeeded"]


async def test_an_item_is_known_by_what_was_stored(function: Function) -> None:
    """However a later version would write it."""
    id = await function.create(asked := model(tokens=2))
    function.execute("UPDATE batch_items SET request = request || '\\x20'::bytea WHERE batch_id = %s", id)
    await function.step("plan", id)
    assert await function.item(id) == {"outcome": "done"}
    same = "SELECT sha256(i.request) = k.request_sha256 FROM batch_items i, idempotency_keys k WHERE i.batch_id = %s"
    assert function.rows(same + " AND k.resource = i.completion_id", id) == [(True,)]
    assert len(function.asked(asked)) == 1


async def test_an_item_is_followed_for_as_long_as_there_is_time(function: Function) -> None:
    id = await function.create(asked := model(tokens=60, rate=20))
    await function.step("plan", id)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(function.item(id))
        async with asyncio.timeout(20):
            while not function.asked(asked):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        event = {"headwater": "batch_item", "batch_id": id, "round": 1, "position": 1}
        cut = await send_event(function.front, event, 5.5)  # it stays for half a second
        assert cut.json() == {"outcome": "wait", "seconds": 1}
    assert running.result() == {"outcome": "done"}
    assert len(function.asked(asked)) == 1


@pytest.mark.parametrize("fault", ["429", "529"])
async def test_a_refused_item_waits_as_long_as_it_is_asked_to(function: Function, fault: str) -> None:
    id = await function.create(asked := model(fault, retry_after=7, times=1))
    await function.step("plan", id)
    answer = await function.item(id)
    assert answer["outcome"] == "wait"
    assert 7 <= answer["seconds"] <= 9  # with the jitter of a first wait
    assert (await function.get(id))["items"]["queued"] == 1
    assert await function.item(id) == {"outcome": "done"}
    assert await function.step("settle", id) == {"next": "end"}
    assert len(function.asked(asked)) == 2
    assert function.rows("SELECT count(*) FROM ledger WHERE model = %s AND output_tokens > 0", asked) == [(1,)]


async def test_no_wait_is_longer_than_reason_or_the_deadline_allow(function: Function) -> None:
    id = await function.create(model("429", retry_after=86400))
    await function.step("plan", id)
    assert 900 <= (await function.item(id))["seconds"] <= 902
    function.execute("UPDATE batches SET deadline = clock_timestamp() + interval '60 s' WHERE id = %s", id)
    assert 0 < (await function.item(id))["seconds"] <= 60


async def test_a_limit_of_the_key_is_waited_for(function: Function) -> None:
    made = await function.admin.post(
        "/v1/keys", json={"name": "one", "scopes": ["completions"], "limits": {"requests_per_minute": 1}}
    )
    key = {"authorization": f"Bearer {made.json()['secret']}"}
    body = {"items": items(model(tokens=2), model(tokens=2))}
    response = await function.front.post(PATH, json=body, headers=of_caller() | key)
    id = response.json()["id"]
    await function.step("plan", id)
    assert await function.item(id, 1) == {"outcome": "done"}
    answer = await function.item(id, 2)
    assert answer["outcome"] == "wait"
    assert answer["seconds"] > 30
    waits = "SELECT waits FROM batch_items WHERE batch_id = %s AND position = 2"
    for before, after in ((1, 2), (10, 10), (100, 100)):
        function.execute("UPDATE batch_items SET waits = %s WHERE batch_id = %s", before, id)
        assert (await function.item(id, 2))["outcome"] == "wait"
        assert function.rows(waits, id) == [(after,)]


async def test_an_item_does_not_wait_for_ever(function: Function) -> None:
    id = await function.create(model("529"))
    await function.step("plan", id)
    function.execute("UPDATE batch_items SET waits = 100 WHERE batch_id = %s", id)
    assert await function.item(id) == {"outcome": "done"}
    await function.step("settle", id)
    [result] = await function.results(id)
    assert (result["status"], result["error"]["code"]) == ("failed", "upstream_overloaded")


async def test_a_failed_item_does_not_stop_the_others(function: Function) -> None:
    id = await function.create(model("error-mid"), model("404"), model(tokens=2))
    assert await function.run(id) == {"next": "end"}
    batch = await function.get(id)
    assert (batch["status"], batch["items"]["failed"], batch["items"]["succeeded"]) == ("completed", 2, 1)
    broken, refused, whole = await function.results(id)
    assert (broken["error"]["code"], broken["completion"]["status"]) == ("upstream_overloaded", "failed")
    assert (refused["error"]["code"], refused["completion"]) == ("upstream_refused", None)
    assert whole["error"] is None


async def test_what_had_begun_is_not_asked_for_again(function: Function) -> None:
    id = await function.create(asked := model("error-mid"))
    await function.run(id)
    assert len(function.asked(asked)) == 1


async def test_a_failed_item_stops_the_batch_that_wants_it_so(function: Function) -> None:
    id = await function.create(model("404"), never := model(), on_failure="stop")
    await function.step("plan", id)
    assert await function.item(id, 1) == {"outcome": "stop"}
    assert await function.item(id, 2) == {"outcome": "stop"}
    assert await function.step("settle", id) == {"next": "end"}
    batch = await function.get(id)
    assert (batch["status"], batch["reason"]) == ("failed", "item_failed")
    assert (batch["items"]["failed"], batch["items"]["cancelled"]) == (1, 1)
    assert not function.asked(never)


async def test_an_item_whose_invocations_failed_is_recorded(function: Function) -> None:
    id = await function.create(model(), model(tokens=2))
    await function.step("plan", id)
    error = {"Error": "Lambda.Unknown", "Cause": "a secret of the house"}
    assert await function.step("item_failed", id, position=1, error=error) == {"outcome": "done"}
    assert await function.item(id, 2) == {"outcome": "done"}
    await function.step("settle", id)
    result, _ = await function.results(id)
    assert result["error"] == {"type": "api_error", "code": "step_failed", "message": "The item could not be run."}


async def test_a_spent_budget_pauses_the_batch_until_it_is_raised(function: Function) -> None:
    wanted = {"name": "poor", "scopes": ["completions"], "limits": {"total_budget": "0.000001"}}
    key = (await function.admin.post("/v1/keys", json=wanted)).json()
    secret = {"authorization": f"Bearer {key['secret']}"}
    body = {"items": items("claude-haiku-4-5", "claude-haiku-4-5")}
    id = (await function.front.post(PATH, json=body, headers=of_caller() | secret)).json()["id"]
    assert await function.run(id) == {"next": "pause", "seconds": 6 * 3600}
    batch = await function.get(id)
    assert (batch["status"], batch["reason"], batch["items"]["queued"]) == ("paused", "budget_exceeded", 2)
    token = await function.wait(id)
    assert function.aws.answered == []

    raised = {"limits": {"total_budget": "10"}}
    assert (await function.admin.patch(f"/v1/keys/{key['id']}", json=raised)).status_code == 200
    assert (await function.post(id, "resume")).json()["status"] == "queued"
    assert function.aws.answered.pop() == (token, "success")
    assert (await function.post(id, "resume")).status_code == 409
    assert await function.run(id) == {"next": "end"}
    assert (await function.get(id))["items"]["succeeded"] == 2


async def test_a_pause_that_was_ended_before_the_engine_waits(function: Function) -> None:
    id = await function.create(model())
    await function.step("plan", id)
    assert await function.step("settle", id) == {"next": "pause", "seconds": 30}  # the engine has given up
    assert (await function.get(id))["reason"] == "interrupted"
    await function.post(id, "resume")
    token = await function.wait(id)
    assert function.aws.answered.pop() == (token, "success")
    assert await function.run(id) == {"next": "end"}


async def test_a_pause_that_was_ended_before_the_engine_asks_what_comes_next(function: Function) -> None:
    wanted = {"name": "poor", "scopes": ["completions"], "limits": {"total_budget": "0.000001"}}
    key = (await function.admin.post("/v1/keys", json=wanted)).json()
    secret = {"authorization": f"Bearer {key['secret']}"}
    body = {"items": items("claude-haiku-4-5")}
    id = (await function.front.post(PATH, json=body, headers=of_caller() | secret)).json()["id"]
    await function.step("plan", id)
    assert await function.item(id) == {"outcome": "stop"}
    raised = {"limits": {"total_budget": "10"}}
    assert (await function.admin.patch(f"/v1/keys/{key['id']}", json=raised)).status_code == 200
    assert (await function.post(id, "resume")).json()["status"] == "queued"

    assert (await function.step("settle", id))["next"] == "pause"
    token = await function.wait(id)
    assert function.aws.answered.pop() == (token, "success")
    assert await function.run(id) == {"next": "end"}
    told = [(event["status"], event["reason"]) for event in function.events(id) if event["type"] == "batch"]
    assert told == [
        ("queued", None),
        ("running", None),
        ("paused", "budget_exceeded"),
        ("queued", None),
        ("running", None),
        ("completed", None),
    ]


async def test_a_key_that_was_revoked_fails_its_items(function: Function) -> None:
    key = (await function.admin.post("/v1/keys", json={"name": "gone", "scopes": ["completions"]})).json()
    secret = {"authorization": f"Bearer {key['secret']}"}
    body = {"items": items(asked := model())}
    id = (await function.front.post(PATH, json=body, headers=of_caller() | secret)).json()["id"]
    assert (await function.admin.delete(f"/v1/keys/{key['id']}")).status_code == 204
    await function.run(id)
    [result] = await function.results(id)
    assert result["error"]["code"] == "invalid_api_key"
    assert not function.asked(asked)


async def test_a_cancelled_batch_stops_what_runs_and_begins_nothing_more(function: Function) -> None:
    id = await function.create(long := model(tokens=2000, rate=20), never := model())
    await function.step("plan", id)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(function.item(id, 1))
        async with asyncio.timeout(20):
            while not function.asked(long):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert (await function.post(id, "cancel")).json()["status"] == "cancelling"
        assert await function.item(id, 2) == {"outcome": "stop"}
        assert await function.step("settle", id) == {"next": "end"}
    assert running.result() == {"outcome": "stop"}
    batch = await function.get(id)
    assert (batch["status"], batch["items"]["cancelled"]) == ("cancelled", 2)
    assert (await function.post(id, "cancel")).json()["status"] == "cancelled"
    first, second = await function.results(id)
    assert (first["status"], first["completion"]["status"], second["status"]) == ("cancelled", "cancelled", "cancelled")
    assert not function.asked(never)
    assert function.rows("SELECT count(*) FROM ledger WHERE settled_at IS NULL") == [(0,)]


async def test_what_begins_for_an_item_that_has_ended_is_stopped(function: Function) -> None:
    id = await function.create(model(tokens=2000, rate=20, first_ms=1500))
    await function.step("plan", id)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(function.item(id))
        admitted = "SELECT FROM completions WHERE status = 'streaming'"
        async with asyncio.timeout(20):
            while not function.rows(admitted):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert await function.step("item_failed", id, position=1) == {"outcome": "done"}
    assert running.result() == {"outcome": "done"}
    [(status, completion)] = function.rows("SELECT status, completion_id FROM batch_items WHERE batch_id = %s", id)
    assert (status, completion) == ("failed", None)
    assert function.rows(admitted) == []


async def test_a_paused_batch_can_be_cancelled(function: Function) -> None:
    id = await function.create(model())
    await function.step("plan", id)
    await function.step("settle", id)
    token = await function.wait(id)
    assert (await function.post(id, "cancel")).json()["status"] == "cancelling"
    assert function.aws.answered.pop() == (token, "Cancelled")
    assert (await function.post(id, "resume")).status_code == 409
    assert await function.step("settle", id) == {"next": "end"}
    assert (await function.get(id))["status"] == "cancelled"


async def test_a_batch_that_has_run_out_of_time_ends(function: Function) -> None:
    id = await function.create(model(tokens=2), model())
    await function.step("plan", id)
    await function.item(id, 1)
    function.execute("UPDATE batches SET deadline = clock_timestamp() WHERE id = %s", id)
    assert await function.item(id, 2) == {"outcome": "stop"}
    assert await function.step("settle", id) == {"next": "end"}
    batch = await function.get(id)
    assert (batch["status"], batch["reason"], batch["items"]["cancelled"]) == ("expired", "deadline", 1)
    assert [result["status"] for result in await function.results(id)] == ["succeeded", "cancelled"]


async def test_nothing_is_planned_of_what_has_ended(function: Function) -> None:
    id = await function.create(model())
    function.execute("UPDATE batches SET deadline = clock_timestamp() WHERE id = %s", id)
    assert await function.step("plan", id) == {"items": [], "parallelism": 1}
    assert await function.step("settle", id) == {"next": "end"}
    assert await function.step("plan", id) == {"items": [], "parallelism": 1}
    unknown = "01980000-0000-7000-8000-000000000000"
    assert await function.step("plan", unknown) == {"items": [], "parallelism": 1}
    assert await function.item(unknown) == {"outcome": "stop"}
    assert await function.step("settle", unknown) == {"next": "end"}


async def test_what_did_not_succeed_is_tried_again_in_another_round(function: Function) -> None:
    id = await function.create(good := model(tokens=2), bad := model("500", times=1))
    await function.run(id)
    assert (await function.get(id))["items"]["failed"] == 1
    again = (await function.post(id, "retry")).json()
    assert (again["status"], again["round"], again["items"]["queued"]) == ("queued", 2, 1)
    assert function.aws.executions[f"{id}-2"] == "RUNNING"
    assert (await function.post(id, "retry")).status_code == 409
    assert await function.step("plan", id) == {"items": [2], "parallelism": 10}
    assert await function.item(id, 2) == {"outcome": "done"}
    assert await function.step("settle", id) == {"next": "end"}
    assert [result["status"] for result in await function.results(id)] == ["succeeded", "succeeded"]
    assert (len(function.asked(good)), len(function.asked(bad))) == (1, 2)
    nothing = await function.post(id, "retry")
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing_to_retry")


async def test_a_step_of_an_earlier_round_changes_nothing(function: Function) -> None:
    id = await function.create(asked := model(tokens=30, rate=20))
    await function.step("plan", id)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(function.item(id))
        async with asyncio.timeout(20):
            while not function.asked(asked):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        function.execute("UPDATE batches SET round = 2 WHERE id = %s", id)
    assert running.result() == {"outcome": "stop"}
    assert function.rows("SELECT status FROM batch_items WHERE batch_id = %s", id) == [("running",)]


async def test_the_engine_of_an_earlier_round_that_comes_late_has_no_say(function: Function) -> None:
    id = await function.create(model(tokens=2), bad := model("500", times=1), approval="before_release")
    assert (await function.run(id))["next"] == "approval"
    await function.wait(id)
    assert (await function.post(id, "approve", by=function.approver)).status_code == 200
    assert (await function.post(id, "retry")).json()["round"] == 2
    assert (await function.step("plan", id))["items"] == [2]

    assert await function.step("settle", id, round=1) == {"next": "end"}
    assert await function.step("plan", id, round=1) == {"items": [], "parallelism": 1}
    assert await function.step("item", id, round=1, position=2) == {"outcome": "stop"}
    assert await function.step("item_failed", id, round=1, position=2) == {"outcome": "stop"}
    assert await function.step("timed_out", id, round=1) == {"next": "end"}
    token = await function.wait(id, round=1)
    assert function.aws.answered.pop() == (token, "Cancelled")
    assert function.rows("SELECT status, task_token FROM batches WHERE id = %s", id) == [("running", None)]
    assert len(function.asked(bad)) == 1

    assert await function.item(id, 2) == {"outcome": "done"}
    assert (await function.step("settle", id))["next"] == "approval"
    assert len(function.asked(bad)) == 2


async def test_events_that_are_none_are_failed_invocations(function: Function) -> None:
    for event in ({"headwater": "batch_item", "batch_id": "x"}, {"headwater": "batch_nonsense"}):
        assert (await send_event(function.worker, event)).status_code == 599
