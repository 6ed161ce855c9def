"""Approval before results are read: who may, when, once; and what the engine is told."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.batches import PATH, Function, model, running_function
from tests.support.on_lambda import of_caller
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function")) as running:
        yield running


async def waiting(function: Function) -> str:
    """A batch that has come as far as that."""
    id = await function.create(model(tokens=2), approval="before_release")
    answer = await function.run(id)
    assert answer["next"] == "approval"
    assert 0 < answer["heartbeat"] < answer["seconds"] <= 7 * 86400
    assert (await function.get(id))["status"] == "awaiting_approval"
    return id


async def assert_withheld(function: Function, id: str, code: str) -> None:
    response = await function.front.get(f"{PATH}/{id}/results", headers=of_caller())
    assert (response.status_code, response.json()["type"]) == (409, f"/problems/{code}")


async def test_a_wait_that_lost_its_heartbeat_is_begun_anew_until_its_time_is_over(function: Function) -> None:
    id = await waiting(function)
    again = await function.step("settle", id)
    assert (again["next"], (await function.get(id))["status"]) == ("approval", "awaiting_approval")
    function.execute("UPDATE batches SET deadline = clock_timestamp() WHERE id = %s", id)
    assert await function.step("settle", id) == {"next": "end"}
    batch = await function.get(id)
    assert (batch["status"], batch["reason"]) == ("expired", "not_approved")


async def test_results_are_read_once_they_are_approved(function: Function) -> None:
    id = await waiting(function)
    await assert_withheld(function, id, "batch_running")
    token = await function.wait(id)
    assert (await function.post(id, "approve")).status_code == 403  # who made it may not
    approved = await function.post(id, "approve", by=function.approver)
    assert (approved.status_code, approved.json()["status"]) == (200, "completed")
    assert approved.json()["approved_at"]
    assert function.aws.answered.pop() == (token, "success")
    assert await function.step("settle", id) == {"next": "end"}
    assert len(await function.results(id)) == 1
    for again in ("approve", "reject"):
        assert (await function.post(id, again, by=function.approver)).status_code == 409
    assert function.aws.answered == []


async def test_results_that_were_rejected_are_never_read(function: Function) -> None:
    id = await waiting(function)
    token = await function.wait(id)
    rejected = await function.post(id, "reject", by=function.approver)
    assert rejected.json()["status"] == "rejected"
    assert function.aws.answered.pop() == (token, "Rejected")
    assert await function.step("settle", id) == {"next": "end"}
    await assert_withheld(function, id, "not_approved")
    assert (await function.post(id, "approve", by=function.approver)).status_code == 409
    assert (await function.post(id, "retry")).status_code == 409


async def test_decided_before_the_engine_waits_it_is_told_at_once(function: Function) -> None:
    id = await waiting(function)
    await function.post(id, "approve", by=function.approver)
    assert function.aws.answered == []
    token = await function.wait(id)
    assert function.aws.answered.pop() == (token, "success")


async def test_not_approved_in_time_it_expires(function: Function) -> None:
    id = await waiting(function)
    await function.wait(id)
    await function.step("timed_out", id)
    await function.step("timed_out", id)
    batch = await function.get(id)
    assert (batch["status"], batch["reason"]) == ("expired", "not_approved")
    await assert_withheld(function, id, "not_approved")
    assert (await function.post(id, "approve", by=function.approver)).status_code == 409


async def test_cancelled_while_it_waits(function: Function) -> None:
    id = await waiting(function)
    token = await function.wait(id)
    assert (await function.post(id, "cancel")).json()["status"] == "cancelled"
    assert function.aws.answered.pop() == (token, "Cancelled")
    assert await function.step("settle", id) == {"next": "end"}
    await assert_withheld(function, id, "not_approved")


async def test_decisions_are_audited(function: Function) -> None:
    id = await waiting(function)
    await function.post(id, "approve", by=function.approver)
    entry = (await function.admin.get("/v1/audit", params={"limit": 1})).json()["data"][0]
    assert (entry["action"], entry["after"]) == ("batch.approved", {"batch_id": id, "status": "completed"})
    assert entry["actor_id"] is not None


async def test_an_approver_of_another_tenant_finds_nothing(function: Function) -> None:
    id = await waiting(function)
    key = {"name": "other", "scopes": ["batches:approve"], "tenant": "other"}
    secret = (await function.admin.post("/v1/keys", json=key)).json()["secret"]
    headers = of_caller() | {"authorization": f"Bearer {secret}"}
    for what in ("approve", "reject"):
        assert (await function.front.post(f"{PATH}/{id}/{what}", headers=headers)).status_code == 404
    assert (await function.get(id))["status"] == "awaiting_approval"


async def test_a_token_is_nowhere_but_in_its_row(function: Function) -> None:
    id = await waiting(function)
    token = await function.wait(id)
    approved = await function.post(id, "approve", by=function.approver)
    stream = await function.front.get(f"{PATH}/{id}/stream", headers=of_caller())
    listed = await function.front.get(PATH, headers=of_caller())
    seen = [approved.text, stream.text, listed.text, str(await function.get(id)), str(await function.results(id))]
    seen += [service.log.read_text() for service in function.services]
    assert not any(token in text for text in seen)
    assert function.rows("SELECT task_token FROM batches WHERE id = %s", id) == [(None,)]
