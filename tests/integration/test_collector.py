"""What a stream leaves behind needs no collector: that looks at old objects once in hours, and until then they stay."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any, Final

from tests.support.service import Service, StartService

_STREAMS: Final = 20
_DIALECTS: Final[dict[str, dict[str, Any]]] = {
    "/v1/completions": {"input": "Hello."},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hello."}], "stream": True},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello."}], "stream": True},
    "/v1/responses": {"input": "Hello.", "max_output_tokens": 50, "stream": True},
}


async def answered(service: Service, path: str, fields: dict[str, Any]) -> None:
    """On a connection of its own, which is closed behind it."""
    limit = {} if "max_output_tokens" in fields else {"max_tokens": 50}
    async with service.client() as client:
        response = await client.post(path, json={"model": "sim-ok?tokens=5"} | limit | fields)
        assert response.status_code == 200, response.text


async def collected(service: Service, told: Path) -> dict[str, int]:
    await asyncio.sleep(0.5)  # the server notices that its clients have left
    service.process.send_signal(signal.SIGUSR1)
    return await asyncio.to_thread(_told, told)


def _told(file: Path) -> dict[str, int]:
    """What it wrote, as soon as it has."""
    until = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    kinds: dict[str, int] = json.loads(file.read_text())
    file.unlink()
    return kinds


async def test_nothing_of_a_stream_waits_for_the_collector(start_service: StartService, tmp_path: Path) -> None:
    told = tmp_path / "collected"
    service = await start_service(module="tests.support.collected", environment={"COLLECTED": str(told)})
    for path, fields in _DIALECTS.items():
        await answered(service, path, fields)
        await collected(service, told)  # what is imported and made for the first time
        for _ in range(_STREAMS):
            await answered(service, path, fields)
        left = await collected(service, told)
        # msgspec makes a small function that calls itself whenever it looks into a type anew.
        ours = {kind: number for kind, number in left.items() if not kind.startswith(("builtins.", "msgspec."))}
        assert {kind: number for kind, number in ours.items() if number >= _STREAMS} == {}, path
