"""The chat of `@ai-sdk/react`, which is `useChat` without its hook: node/ui_chat.mjs has the checks."""

from pathlib import Path

import pytest

from local.upstream import SimulatedUpstream
from tests.compat.node_clients import run
from tests.support.service import Services


@pytest.mark.compat
@pytest.mark.timeout(400)
async def test_use_chat(database_url: str, tmp_path: Path, upstream: SimulatedUpstream) -> None:
    services = Services(tmp_path, database_url, upstream.url)
    try:
        service = await services.start()
        code, output = await run("ui_chat.mjs", TEST_URL=service.url, TEST_KEY=service.key)
    finally:
        services.end()
    assert code == 0, output
