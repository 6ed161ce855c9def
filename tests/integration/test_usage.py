"""`GET /v1/usage`: the ledger summed up, for those who may see it."""

import csv
import io
import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from app.access.usage_schemas import COLUMNS, Group
from app.domain.ids import uuid7
from tests.support import ledger
from tests.support.api import Api
from tests.support.ledger import COUNTS, Row, opened, row
from tests.support.problems import problem

# Of one millisecond they may come in either order, and groups come in theirs.
ONE, OTHER = sorted((uuid7(), uuid7()))
_NOTHING: Final[dict[str, Any]] = {
    **dict.fromkeys(COUNTS, 0),
    "completions": 0,
    "cost": None,
    "unpriced": 0,
    "estimated": 0,
    "open": 0,
    "reserved_input_tokens": 0,
    "reserved_output_tokens": 0,
    "reserved": None,
}


def at(day: int, hour: int = 0, **fields: Any) -> Row:
    return row(created_at=datetime(2026, 11, day, hour, tzinfo=UTC), **fields)


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    return await api.admin()


async def used(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """All groups, which fit on a page."""
    response = await client.get("/v1/usage", params=query)
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["next_cursor"] is None
    data: list[dict[str, Any]] = body["data"]
    return data


async def completions(client: httpx.AsyncClient, **query: Any) -> int:
    [total] = await used(client, **query)
    count: int = total["completions"]
    return count


async def test_nothing_was_used(admin: httpx.AsyncClient) -> None:
    assert await used(admin) == [_NOTHING]
    assert await used(admin, group_by="day") == []


async def test_one_sum_of_all(admin: httpx.AsyncClient, database_url: str) -> None:
    ledger.insert(
        database_url,
        [
            row(cost=Decimal("0.1"), web_searches=2),
            row(cost=Decimal("0.2"), estimated=True),
            row(cost=None),
            opened(reserved=Decimal("1.50")),
            opened(reserved=None),
        ],
    )
    assert await used(admin) == [
        {
            "completions": 5,
            "input_tokens": 30,
            "output_tokens": 60,
            "cache_read_tokens": 3,
            "cache_write_5m_tokens": 6,
            "cache_write_1h_tokens": 9,
            "web_searches": 2,
            "cost": "0.3",
            "unpriced": 2,
            "estimated": 1,
            "open": 2,
            "reserved_input_tokens": 200,
            "reserved_output_tokens": 2000,
            "reserved": "1.5",
        }
    ]


@pytest.mark.parametrize(
    ("costs", "sum"),
    [
        (["0.1", "0.2"], "0.3"),
        (["0.000000000001", "123456789012345678901234567890"], "123456789012345678901234567890.000000000001"),
        (["0", "0.00"], "0"),
        (["1E-12"], "0.000000000001"),
        (["100"], "100"),
    ],
)
async def test_money_is_exact(admin: httpx.AsyncClient, database_url: str, costs: list[str], sum: str) -> None:
    ledger.insert(database_url, [row(cost=Decimal(cost)) for cost in costs] + [row(cost=None)])
    [total] = await used(admin)
    assert total["cost"] == sum


async def test_by_day_of_utc(admin: httpx.AsyncClient, database_url: str) -> None:
    west = datetime.fromisoformat("2026-11-01T23:30:00-02:00")
    ledger.insert(database_url, [at(1), at(1, 23), row(created_at=west), at(4)])
    days = [(group["day"], group["completions"]) for group in await used(admin, group_by="day")]
    assert days == [("2026-11-01", 2), ("2026-11-02", 1), ("2026-11-04", 1)]


async def test_by_model_key_and_conversation(admin: httpx.AsyncClient, database_url: str) -> None:
    ledger.insert(
        database_url,
        [row(model="b", key_id=ONE), row(model="a", key_id=OTHER, conversation_id=ONE), row(model="b", key_id=ONE)],
    )
    models = await used(admin, group_by="model")
    assert [(group["model"], group["completions"]) for group in models] == [("a", 1), ("b", 2)]
    keys = await used(admin, group_by="key")
    assert [(group["key_id"], group["completions"]) for group in keys] == [(str(ONE), 2), (str(OTHER), 1)]
    conversations = await used(admin, group_by="conversation")
    assert [(group["conversation_id"], group["completions"]) for group in conversations] == [(None, 2), (str(ONE), 1)]
    assert set(models[0]) == {"model", *_NOTHING}


async def test_several_groups_in_the_order_that_was_asked_for(admin: httpx.AsyncClient, database_url: str) -> None:
    ledger.insert(database_url, [at(1, model="b"), at(2, model="a"), at(2, model="b")])
    by_model = await used(admin, group_by="model,day,model")
    assert [(group["model"], group["day"][-1]) for group in by_model] == [("a", "2"), ("b", "1"), ("b", "2")]
    by_day = await used(admin, group_by="day,model")
    assert [(group["day"][-1], group["model"]) for group in by_day] == [("1", "b"), ("2", "a"), ("2", "b")]
    assert list(by_day[0])[:2] == ["day", "model"]


@pytest.mark.parametrize(
    ("query", "counted"),
    [
        ({"from": "2026-11-02"}, 3),
        ({"to": "2026-11-02"}, 1),
        ({"from": "2026-11-02", "to": "2026-11-03"}, 2),
        ({"from": "2026-11-02T01:00:00Z", "to": "2026-11-02T12:00:00Z"}, 0),
        ({"from": "2026-11-02t00:00:00z", "to": "2026-11-02T00:00:00.000001Z"}, 1),
        ({"from": "2026-11-02T02:00:01+02:00"}, 2),
        ({"from": "2026-11-04", "to": "2026-11-01"}, 0),
        ({"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}, 4),
    ],
)
async def test_within_a_time(admin: httpx.AsyncClient, database_url: str, query: dict[str, str], counted: int) -> None:
    ledger.insert(database_url, [at(1, 23), at(2), at(2, 12), at(3)])
    assert await completions(admin, **query) == counted


async def test_filters(admin: httpx.AsyncClient, database_url: str) -> None:
    ledger.insert(
        database_url,
        [
            row(model="a", key_id=ONE, conversation_id=ONE),
            row(model="a", key_id=OTHER, conversation_id=ONE),
            row(model="b", key_id=ONE),
        ],
    )
    assert await completions(admin, model="a") == 2
    assert await completions(admin, key_id=str(ONE)) == 2
    assert await completions(admin, conversation_id=str(ONE)) == 2
    assert await completions(admin, conversation_id=str(ONE), key_id=str(OTHER), model="a") == 1
    assert await completions(admin, conversation_id=str(OTHER)) == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"group_by": "week"}, (422, "group_by")),
        ({"group_by": "day,,model"}, (422, "group_by")),
        ({"from": "yesterday"}, (422, "from")),
        ({"from": "2026-11-31"}, (422, "from")),
        ({"to": "2026-11-01T00:00:00"}, (422, "to")),
        ({"to": "2026-W44"}, (422, "to")),
        ({"to": "1793000000"}, (422, "to")),
        ({"key_id": "7"}, (422, "key_id")),
        ({"conversation_id": "7"}, (422, "conversation_id")),
        ({"model": "a\0"}, (422, "model")),
        ({"tenant": "a b"}, (422, "tenant")),
        ({"limit": "0"}, (422, "limit")),
        ({"limit": "10001"}, (422, "limit")),
        ({"format": "xml"}, (422, "format")),
        ({"cursor": "x", "group_by": "day"}, (400, "cursor")),
        ({"cursor": "é", "group_by": "day"}, (400, "cursor")),
        ({"cursor": "eyJkYXkiOiJ4In0=", "group_by": "day"}, (400, "cursor")),  # a day that is none
        ({"cursor": "eyJtb2RlbCI6ImEifQ==", "group_by": "day"}, (400, "cursor")),  # of a list by model
        ({"cursor": "eyJtb2RlbCI6Ilx1MDAwMCJ9", "group_by": "model"}, (400, "cursor")),  # a NUL
    ],
)
async def test_a_wrong_query_is_refused(
    admin: httpx.AsyncClient, query: dict[str, str], expected: tuple[int, str]
) -> None:
    response = await admin.get("/v1/usage", params=query)
    assert (problem(response)[0], response.json()["param"]) == expected


# --- Who sees what


async def test_an_admin_sees_its_tenant_and_the_configured_one_all(api: Api, database_url: str) -> None:
    ledger.insert(database_url, [row(tenant="mine", key_id=ONE), row(tenant="mine"), row(tenant="other")])
    configured, own = await api.admin(), await api.client_with("admin", tenant="mine")
    assert await completions(configured) == 3
    assert await completions(configured, tenant="other") == 1
    assert await completions(configured, tenant="nobody") == 0
    assert await completions(own) == await completions(own, tenant="mine") == 2
    assert await completions(own, key_id=str(ONE)) == 1
    assert problem(await own.get("/v1/usage?tenant=other")) == (403, "foreign_tenant")


@pytest.mark.parametrize("scopes", [("completions",), ("completions", "conversations")])
async def test_another_key_sees_what_was_asked_with_it(api: Api, database_url: str, scopes: tuple[str, ...]) -> None:
    admin = await api.admin()
    made = (await admin.post("/v1/keys", json={"name": "k", "scopes": scopes, "tenant": "mine"})).json()
    own = row(tenant="mine", key_id=UUID(made["id"]))
    ledger.insert(database_url, [own, row(tenant="mine", key_id=ONE), row(tenant="mine"), row(tenant="other")])
    client = await api.client(made["secret"])
    assert await completions(client) == await completions(client, tenant="mine") == 1
    assert await completions(client, key_id=made["id"]) == 1
    assert await completions(client, key_id=str(ONE)) == 0
    assert [group["key_id"] for group in await used(client, group_by="key")] == [made["id"]]
    assert problem(await client.get("/v1/usage?tenant=other")) == (403, "foreign_tenant")


async def test_others_see_nothing(api: Api) -> None:
    assert problem(await (await api.client()).get("/v1/usage")) == (401, "no_api_key")
    assert problem(await (await api.client_with("conversations")).get("/v1/usage")) == (403, "missing_scope")
    maker = await api.client_with()
    conversation = (await maker.post("/v1/conversations", json={})).json()["id"]
    token = (await maker.post("/v1/tokens", json={"conversation_id": conversation})).json()["token"]
    assert problem(await (await api.client(token)).get("/v1/usage")) == (403, "token_out_of_bounds")
    assert problem(await (await api.client()).get(f"/v1/usage?token={token}")) == (403, "token_out_of_bounds")


# --- Pages


def some_rows() -> list[Row]:
    """Of every combination of two days, three models, two keys or none, and two conversations or none."""
    combinations = itertools.product((1, 2), ("a", "b", "é"), (ONE, OTHER, None), (ONE, OTHER, None))
    return [at(d, model=m, key_id=k, conversation_id=c) for d, m, k, c in combinations]


@pytest.mark.parametrize("group_by", [*Group, "day,model", "conversation,key", "key,conversation,model,day"])
@pytest.mark.parametrize("limit", [1, 3, 54])
async def test_pages_have_every_group_once(
    admin: httpx.AsyncClient, database_url: str, group_by: str, limit: int
) -> None:
    ledger.insert(database_url, some_rows())
    whole = await used(admin, group_by=group_by)
    assert sum(group["completions"] for group in whole) == 54
    path: str | None = f"/v1/usage?group_by={group_by}&limit={limit}"
    found: list[dict[str, Any]] = []
    while path is not None:
        response = await admin.get(path)
        page = response.json()
        assert len(page["data"]) <= limit
        found += page["data"]
        following = response.links.get("next", {}).get("url")
        assert (following is None) == (page["next_cursor"] is None)
        path = following
    assert found == whole


# --- CSV


async def table(client: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    response = await client.get("/v1/usage", params={"format": "csv", **query})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert b"\r\n" in response.content
    return list(csv.reader(io.StringIO(response.text, newline="")))


@pytest.mark.parametrize("group_by", ["", "day", "conversation,model"])
async def test_csv_says_what_json_says(admin: httpx.AsyncClient, database_url: str, group_by: str) -> None:
    ledger.insert(database_url, [*some_rows(), row(cost=None), opened()])
    columns, *rows = await table(admin, group_by=group_by)
    groups = await used(admin, group_by=group_by)
    assert sorted(columns) == sorted(groups[0])
    assert rows == [["" if group[name] is None else str(group[name]) for name in columns] for group in groups]


@pytest.mark.parametrize(
    ("accept", "format", "is_csv"),
    [
        ("text/csv", None, True),
        ("text/csv, */*;q=0.1", None, True),
        ("application/json, text/csv", None, False),
        ("*/*", None, False),
        ("text/csv", "json", False),
        ("application/json", "csv", True),
    ],
)
async def test_the_form_is_as_asked(admin: httpx.AsyncClient, accept: str, format: str | None, is_csv: bool) -> None:
    query = {"format": format} if format is not None else {}
    response = await admin.get("/v1/usage", params=query, headers={"accept": accept})
    assert response.headers["content-type"].startswith("text/csv" if is_csv else "application/json")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])  # noqa: RUF001
async def test_no_cell_is_a_formula(admin: httpx.AsyncClient, database_url: str, name: str) -> None:
    ledger.insert(database_url, [row(model=name)])
    _, [model, *_] = await table(admin, group_by="model")
    assert model == f"'{name}"


@pytest.mark.parametrize("name", ['a "b", c', "two\r\nlines", "x=1", "é"])
async def test_any_other_name_comes_through(admin: httpx.AsyncClient, database_url: str, name: str) -> None:
    ledger.insert(database_url, [row(model=name)])
    _, [model, *_] = await table(admin, group_by="model")
    assert model == name


async def test_csv_has_pages_too(admin: httpx.AsyncClient, database_url: str) -> None:
    ledger.insert(database_url, some_rows())
    first = await admin.get("/v1/usage?group_by=model&limit=2&format=csv")
    second = await admin.get(first.links["next"]["url"])
    models = [line.split(",")[0] for page in (first, second) for line in page.text.splitlines()]
    assert models == ["model", "a", "b", "model", "é"]
    assert "next" not in second.links


# --- Totals


def random_row(of: random.Random) -> Row:
    settled = {
        **{name: of.randrange(10**9) for name in COUNTS},
        "cost": of.choice([None, Decimal(of.randrange(10**12)).scaleb(-of.randrange(13))]),
        "estimated": of.random() < 0.2,
    }
    return replace(
        row(**settled) if of.random() < 0.8 else opened(),
        model=of.choice(["a", "b", "c"]),
        key_id=of.choice([ONE, OTHER, None]),
        conversation_id=of.choice([ONE, None]),
        created_at=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=of.randrange(24 * 30)),
        reserved=of.choice([None, Decimal(of.randrange(10**6)).scaleb(-6)]),
    )


def total(costs: list[Decimal | None]) -> Decimal | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal()) if known else None


def money(told: str | None) -> Decimal | None:
    return Decimal(told) if told is not None else None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group_by", ["", "day", "day,model,key,conversation"])
async def test_the_totals_are_those_of_the_ledger(
    admin: httpx.AsyncClient, database_url: str, seed: int, group_by: str
) -> None:
    of = random.Random(seed)
    rows = [random_row(of) for _ in range(300)]
    ledger.insert(database_url, rows)
    groups = await used(admin, group_by=group_by)
    settled, unsettled = [r for r in rows if r.settled_at], [r for r in rows if not r.settled_at]
    for name in COUNTS:
        assert sum(group[name] for group in groups) == sum(getattr(r, name) for r in settled), name
    assert sum(group["completions"] for group in groups) == len(rows)
    assert sum(group["open"] for group in groups) == len(unsettled)
    assert sum(group["estimated"] for group in groups) == sum(r.estimated is True for r in settled)
    assert sum(group["unpriced"] for group in groups) == sum(r.cost is None for r in settled) + sum(
        r.reserved is None for r in unsettled
    )
    assert total([money(group["cost"]) for group in groups]) == total([r.cost for r in settled])
    assert total([money(group["reserved"]) for group in groups]) == total([r.reserved for r in unsettled])
    keys = [tuple(group.get(column) for column in COLUMNS.values()) for group in groups]
    assert len(set(keys)) == len(keys)
