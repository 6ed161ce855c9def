"""The header `server-timing`: who answered, how that began, and what the upstream took."""

import re
from typing import Any, Final

from local.upstream import SimulatedUpstream
from tests.support.api import StartApi
from tests.support.service import StartService

BODY: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 20}
UUID: Final = "[0-9a-f]{8}-[0-9a-f-]{27}"


async def test_it_names_who_answered_and_what_the_upstream_took(start_service: StartService) -> None:
    service = await start_service(home="fargate")
    async with service.client() as client:
        answers = [await client.post("/v1/completions", json=BODY) for _ in range(2)]
    # The key that the client has was made by the first request.
    upstream, *who = [part.split(";") for part in answers[0].headers["server-timing"].split(", ")]
    assert upstream[0] == "upstream"
    assert float(upstream[1].removeprefix("dur=")) > 0
    assert who[0] == ["home", "desc=fargate"]
    assert re.fullmatch(f"desc={UUID}", who[1][1])
    assert who[2] == ["start", "desc=warm"]
    assert answers[1].headers["server-timing"].endswith(f"instance;{who[1][1]}, start;desc=warm")


async def test_a_replay_has_asked_no_upstream(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url)
    client = await api.client_with()
    headers = {"idempotency-key": "once"}
    answers = [await client.post("/v1/completions", json={**BODY, "stream": False}, headers=headers) for _ in range(2)]
    assert [answer.headers["server-timing"].startswith("upstream;dur=") for answer in answers] == [True, False]


async def test_it_can_be_left_out(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, server_timing=False)
    client = await api.client_with()
    answer = await client.post("/v1/completions", json={**BODY, "stream": False})
    assert answer.status_code == 200
    assert "server-timing" not in answer.headers
