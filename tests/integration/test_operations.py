"""The queries of docs/operations.md: their SQL over the log of a service, their fields in the schema."""

import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.observability.names import Metric
from tests.integration.test_metrics import minutes
from tests.support.headwater import until
from tests.support.log_lines import LOG_SCHEMA, lines
from tests.support.service import Service, StartService, make_key

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
QUESTION: Final = re.compile(r"^### (\d+)\. (.+?)\n(.*?)```\n(.+?)```\n\n```sql\n(.+?)```", re.MULTILINE | re.DOTALL)
QUERIES: Final = {int(number): (insights, sql) for number, _, _, insights, sql in QUESTION.findall(DOCUMENT)}
# What stands in a query and names no field.
WORDS: Final = {
    *("filter", "fields", "sort", "limit", "stats", "by", "as", "and", "in", "like", "desc", "asc", "bin", "ispresent"),
    *("count", "count_distinct", "sum", "avg", "max", "pct"),
}
BODY: Final[dict[str, Any]] = {"model": "claude-haiku-4-5", "input": "Say something.", "max_tokens": 10}


class Percentile:
    """The aggregate `pct(value, share)`."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._share = 0.0

    def step(self, value: float | None, share: float) -> None:
        self._share = share
        if value is not None:
            self._values.append(value)

    def finalize(self) -> float | None:
        ordered = sorted(self._values)
        return ordered[round((len(ordered) - 1) * self._share / 100)] if ordered else None


def start_of(timestamp: str, seconds: int) -> float:
    at = datetime.fromisoformat(timestamp).timestamp()
    return at - at % seconds


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """As Logs Insights finds the fields of a line: those of lists have the place behind their name."""
    row: dict[str, Any] = {}
    for key, value in line.items():
        if isinstance(value, list):
            row |= {f"{key}.{place}": item for place, item in enumerate(value)}
        elif not isinstance(value, dict):
            row[key] = value
    if at := line.get("_aws", {}).get("Timestamp"):
        row["timestamp"] = datetime.fromtimestamp(at / 1000).astimezone().isoformat()
    return row


def table(log: Path) -> sqlite3.Connection:
    rows = [flat(line) for line in lines(log)]
    columns = {*LOG_SCHEMA["properties"], *(key for row in rows for key in row)}
    names = ", ".join(f'"{column}"' for column in sorted(columns))
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.create_aggregate("pct", 2, Percentile)  # type: ignore[arg-type]
    database.create_function("bin", 2, start_of)
    database.execute(f"CREATE TABLE log ({names})")
    for row in rows:
        marks = ", ".join("?" for _ in row)
        filled = ", ".join(f'"{key}"' for key in row)
        database.execute(f"INSERT INTO log ({filled}) VALUES ({marks})", list(row.values()))
    return database


def ask(log: Path, number: int, **parameters: str) -> list[dict[str, Any]]:
    database = table(log)
    try:
        return [dict(row) for row in database.execute(QUERIES[number][1], parameters)]
    finally:
        database.close()


@pytest.fixture
async def served(start_service: StartService) -> tuple[Service, str, httpx.Response]:
    """A service that has had a little of everything, one of its keys, and one of its answers."""
    service = await start_service(home="fargate", metrics_interval=0.3, max_retries=1)
    async with service.client(service.admin_key) as admin:
        spender = await make_key(admin, tenant="spender")
        limited = await make_key(admin, tenant="limited", limits={"requests_per_minute": 0})
    async with service.client(spender) as client:
        for _ in range(2):
            await client.post("/v1/completions", json=BODY)
        answer = await client.post("/v1/completions", json=BODY)
        await client.get(f"/v1/completions/{answer.headers['x-completion-id']}/stream")
        await client.post("/v1/completions", json={**BODY, "model": "sim-529"})
    async with service.client(limited) as client:
        await client.post("/v1/completions", json=BODY)
    before = len(minutes(service))
    await until(lambda: len(minutes(service)) > before)
    return service, spender, answer


def test_there_are_ten_queries() -> None:
    assert list(QUERIES) == list(range(1, 11))


async def test_the_queries_answer_their_questions(served: tuple[Service, str, httpx.Response]) -> None:
    service, _, answer = served
    log, id = service.log, answer.headers["x-completion-id"]

    slowest = ask(log, 1)
    assert [row["ttft_ms"] for row in slowest] == sorted((row["ttft_ms"] for row in slowest), reverse=True)
    assert id in [row["completion_id"] for row in slowest]

    [fast] = ask(log, 2)
    assert (fast["home"], fast["model"], fast["completions"]) == ("fargate", "claude-haiku-4-5", 3)
    assert 0 < fast["ttft_p50"] <= fast["ttft_p99"]

    spends = ask(log, 3)[0]
    assert (spends["tenant"], spends["completions"], spends["output"]) == ("spender", 4, 30)
    assert spends["dollars"] > 0

    [cut] = ask(log, 4)
    assert (cut["status"], cut["error"], cut["attempts"]) == ("failed", "upstream_overloaded", 2)

    [failed] = ask(log, 5)
    assert (failed["error"], failed["failed"], failed["tries"]) == ("upstream_overloaded", 1, 2)

    refused = {row["tenant"]: (row["http_status"], row["refused"]) for row in ask(log, 6)}
    assert refused == {"limited": (429, 1)}

    # The completion's line is written first: the request ends with its last byte.
    of_completion, of_request = ask(log, 7, request_id=answer.headers["request-id"])
    assert (of_request["message"], of_request["http_status"]) == ("request", 200)
    assert (of_completion["message"], of_completion["completion_id"]) == ("completion", id)

    [reads] = ask(log, 8)
    assert (reads["tenant"], reads["resumed_reads"], reads["completions"]) == ("spender", 1, 1)

    [starts] = ask(log, 9)
    assert (starts["init_type"], starts["cold"]) == ("process", 1)

    for holds in ask(log, 10):
        assert holds["home"] == "fargate"
        assert min(holds["wait_ms"], holds["in_use"], holds["backlog"]) >= 0
    assert ask(log, 10)


@pytest.mark.parametrize("number", QUERIES)
def test_fields_are_those_of_the_schema(number: int) -> None:
    """Of the query itself, which nobody here can run; SQL does not run with a column that is not there."""
    said = re.sub(r'"[^"]*"|/[^/]*/|@\w+|\.?\d+\w*', " ", QUERIES[number][0])
    named = set(re.findall(r"\bas (\w+)", said))
    assert set(re.findall(r"\w+", said)) - named - WORDS <= {*LOG_SCHEMA["properties"], *Metric}
