"""The deployed state machine, unchanged, runs batches through the application, whatever happens to it meanwhile."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import msgspec

from tests.support.running_batches import PATIENCE, Batches, Told, model

GOOD, OVERLOADED, BAD = 37, 8, 4
PARALLELISM = 4
# Of all that was admitted, also what an item left behind when it was refused.
_USED: LiteralString = """
    SELECT coalesce(c.model, l.model), c.id = l.completion_id, l.settled_at IS NOT NULL, l.estimated,
           coalesce(l.input_tokens, 0), coalesce(l.output_tokens, 0)
    FROM completions c FULL JOIN ledger l ON l.completion_id = c.id
    WHERE coalesce(c.model, l.model) = ANY(%s)
"""


async def test_fifty_items_with_overload_failures_and_a_killed_process_come_to_their_results(batches: Batches) -> None:
    long = model(tokens=400, rate=4)
    good = [model(tokens=10) for _ in range(GOOD)]
    overloaded = [model("529", times=2, retry_after=1) for _ in range(OVERLOADED)]
    bad = [model("400") for _ in range(BAD)]
    asked = [long, *overloaded, *good, *bad]
    id = await batches.create(asked, approval="before_release", parallelism=PARALLELISM)
    async with asyncio.TaskGroup() as readers:
        watching = [readers.create_task(batches.watch(id, cut)) for cut in (20, 55)]
        await _some_have_succeeded(batches, id, 8)
        await until_begun(batches, [long])
        for process in batches.busy_workers():
            process.kill()

        waiting = await batches.becomes(id, "awaiting_approval")
        assert (await batches.results(id)).status_code == 409
        assert (await batches.post(id, "approve")).status_code == 403
        assert (await batches.post(id, "approve", by=batches.approver)).status_code == 200
        assert (await batches.post(id, "approve", by=batches.approver)).status_code == 409
    await batches.becomes(id, "completed")
    await batches.is_at_rest(id)

    lines = [msgspec.json.decode(line) for line in (await batches.results(id)).text.splitlines()]
    ended = Counter(line["status"] for line in lines)
    refused = [line["error"]["code"] for line in lines[-BAD:]]
    killed = [line for line in lines[:-BAD] if line["status"] == "failed"]
    assert refused == ["upstream_refused"] * BAD
    assert {line["error"]["code"] for line in killed} == {"interrupted"}
    assert (killed[0]["custom_id"], len(killed) <= PARALLELISM) == ("1", True)
    assert ended == {"succeeded": 50 - BAD - len(killed), "failed": BAD + len(killed)}
    assert waiting["items"]["succeeded"] == ended["succeeded"]
    assert [line["custom_id"] for line in lines] == [str(n) for n in range(1, 51)]
    assert all(line["completion"]["text"] for line in lines if line["status"] == "succeeded")

    begun = await _begun(batches, asked)
    succeeded = [asked[int(line["custom_id"]) - 1] for line in lines if line["status"] == "succeeded"]
    assert begun.keys() >= {long, *succeeded}
    assert set(begun.values()) == {1}, "one request for each that reached its first event"
    lost = {asked[int(line["custom_id"]) - 1] for line in killed}
    requests = [request for request in await batches.upstream() if request["body"]["model"] in asked]
    _check_ledger(batches.rows(_USED, asked), requests, lost)
    one, other = [task.result() for task in watching]
    _check_watched(one, id, batches)
    assert one == other


async def _some_have_succeeded(batches: Batches, id: str, least: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await batches.get(id))["items"]["succeeded"] < least:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


async def until_begun(batches: Batches, models: list[str]) -> None:
    """Return when the upstream has sent the first events for one of these."""
    async with asyncio.timeout(PATIENCE):
        while not await _begun(batches, models):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def _begun(batches: Batches, models: list[str]) -> Counter[str]:
    """How often the upstream sent a first event, by model."""
    asked = [request for request in await batches.upstream() if request["body"]["model"] in models]
    return Counter(request["body"]["model"] for request in asked if request["status"] == 200 and request["events_sent"])


def _check_ledger(rows: list[Any], requests: list[dict[str, Any]], lost: set[str]) -> None:
    """A row for each completion, and for each request of the upstream, whose own usage they add up to.

    Of what was `lost` in the middle it is an estimate, and says so.
    """
    assert all(both and settled for _, both, settled, *_ in rows)
    assert {model for model, _, _, estimated, *_ in rows if estimated} <= lost
    whole = [row for row in rows if row[0] not in lost]
    asked = [request for request in requests if request["body"]["model"] not in lost]
    assert Counter(row[0] for row in whole) == Counter(request["body"]["model"] for request in asked)
    assert len(whole) >= GOOD + OVERLOADED * 3 + BAD - len(lost) * 3
    told = [request["usage"] for request in asked if request["status"] == 200]
    for at, name in ((4, "input_tokens"), (5, "output_tokens")):
        assert sum(row[at] for row in whole) == sum(usage[name] for usage in told) > 0


def _check_watched(events: list[Told], id: str, batches: Batches) -> None:
    """Every change once, in order: as the store has them, and each item from one status to the next."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    stored = batches.rows("SELECT seq, type, data FROM batch_events WHERE batch_id = %s ORDER BY seq", id)
    assert [(e.seq, e.type, e.data) for e in events] == [(s, t, msgspec.json.decode(data)) for s, t, data in stored]
    of_batch = [event.data["status"] for event in events if event.type == "batch"]
    assert of_batch == ["queued", "running", "awaiting_approval", "completed"]
    before = dict.fromkeys(range(1, 51), "queued")
    for event in events:
        if event.type == "item":
            position, status = event.data["position"], event.data["status"]
            assert before[position] in {"queued": ("running",), "running": ("queued",)}.get(status, ("running",))
            before[position] = status
    assert set(before.values()) == {"succeeded", "failed"}


async def test_rejected_results_can_never_be_read(batches: Batches) -> None:
    id = await batches.create([model(), model()], approval="before_release")
    await batches.becomes(id, "awaiting_approval")

    assert (await batches.post(id, "reject", by=batches.approver)).json()["status"] == "rejected"
    await batches.is_at_rest(id)
    assert (await batches.get(id))["status"] == "rejected"
    assert (await batches.results(id)).status_code == 409


async def test_what_nobody_approves_in_time_expires(batches: Batches) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    id = await batches.create([model()], approval="before_release", deadline=deadline.isoformat())
    await batches.becomes(id, "awaiting_approval")

    batch = await batches.becomes(id, "expired")
    assert batch["reason"] == "not_approved"
    await batches.is_at_rest(id)
    assert (await batches.results(id)).status_code == 409


async def test_cancelled_among_its_items_it_stops_those_that_run(batches: Batches) -> None:
    asked = [model(tokens=400, rate=4) for _ in range(8)]
    id = await batches.create(asked)
    await until_begun(batches, asked)

    assert (await batches.post(id, "cancel")).json()["status"] in ("cancelling", "cancelled")
    batch = await batches.becomes(id, "cancelled")
    assert (batch["items"]["cancelled"], batch["items"]["running"]) == (8, 0)
    await batches.is_at_rest(id)
    hung_up = [r for r in await batches.upstream() if r["body"]["model"] in asked and r["hung_up_at"] is None]
    assert not hung_up, "all were left in the middle"


async def test_cancelled_while_it_waits_it_is_over_at_once(batches: Batches) -> None:
    id = await batches.create([model()], approval="before_release")
    await batches.becomes(id, "awaiting_approval")
    await batches.waits(id)

    await batches.post(id, "cancel")
    await batches.becomes(id, "cancelled")
    await batches.is_at_rest(id)
    assert (await batches.post(id, "approve", by=batches.approver)).status_code == 409


async def test_a_spent_budget_pauses_it_and_a_raised_one_and_resume_finish_it(batches: Batches) -> None:
    wanted = {"name": "poor", "scopes": ["completions"], "limits": {"total_budget": "0.000001"}}
    key = (await batches.admin.post("/v1/keys", json=wanted)).json()
    id = await batches.create(["claude-haiku-4-5"] * 3, key=key["secret"])
    paused = await batches.becomes(id, "paused")
    assert (paused["reason"], paused["items"]["succeeded"], paused["items"]["failed"]) == ("budget_exceeded", 0, 0)

    # At once: the engine may not even have asked what comes next.
    raised = {"limits": {"total_budget": "10"}}
    assert (await batches.admin.patch(f"/v1/keys/{key['id']}", json=raised)).status_code == 200
    assert (await batches.post(id, "resume")).json()["status"] in ("queued", "running")
    batch = await batches.becomes(id, "completed")
    assert batch["items"]["succeeded"] == 3
    await batches.is_at_rest(id)
    told = [event.data["status"] for event in await batches.watch(id, 1) if event.type == "batch"]
    assert told == ["queued", "running", "paused", "queued", "running", "completed"]


async def test_tried_again_as_soon_as_it_is_approved_another_round_completes_it(batches: Batches) -> None:
    good, bad = model(), model("500", times=1)
    id = await batches.create([good, bad], approval="before_release")
    assert (await batches.becomes(id, "awaiting_approval"))["items"]["failed"] == 1
    await batches.waits(id)

    # The first round's execution settles only now, when the batch is in its second.
    assert (await batches.post(id, "approve", by=batches.approver)).status_code == 200
    assert (await batches.post(id, "retry")).json()["round"] == 2
    again = await batches.becomes(id, "awaiting_approval")
    assert (again["items"]["succeeded"], again["round"]) == (2, 2)
    await batches.waits(id)
    assert (await batches.post(id, "approve", by=batches.approver)).status_code == 200
    await batches.is_at_rest(id)
    asked = Counter(request["body"]["model"] for request in await batches.upstream())
    assert (asked[good], asked[bad]) == (1, 2)
