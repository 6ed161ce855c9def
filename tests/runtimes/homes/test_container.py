"""The image as Fargate runs it."""

import asyncio

import pytest

from tests.runtimes.homes.streams import body
from tests.runtimes.homes.targets import Surroundings, docker, running_container
from tests.support.headwater import frames

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_it_is_not_root_and_cannot_write(around: Surroundings) -> None:
    async with running_container(around) as (name, _):
        assert (await docker("exec", name, "id", "-u")).strip() != "0"
        with pytest.raises(AssertionError, match="Read-only file system"):
            await docker("exec", name, "touch", "/srv/headwater/file")


async def test_sigterm_lets_its_streams_end(around: Surroundings) -> None:
    async with running_container(around, drain_grace=30) as (name, home), home.client() as client:
        model = "sim-ok?tokens=60&rate=20&first_ms=0"
        async with client.stream("POST", "/v1/completions", json=body(model)) as response:
            chunks = response.aiter_text()
            read = await anext(chunks)
            await docker("kill", "--signal", "TERM", name)
            read += "".join([chunk async for chunk in chunks])
        assert frames(read)[-1].data == "[DONE]"
        assert (await asyncio.wait_for(docker("wait", name), 20)).strip() == "0"


async def test_sigterm_interrupts_what_the_grace_does_not_reach(around: Surroundings) -> None:
    async with running_container(around, drain_grace=1) as (name, home), home.client() as client:
        model = "sim-ok?tokens=1200&rate=20&first_ms=0"
        async with client.stream("POST", "/v1/completions", json=body(model)) as response:
            chunks = response.aiter_text()
            read = await anext(chunks)
            await docker("kill", "--signal", "TERM", name)
            read += "".join([chunk async for chunk in chunks])
        *_, end = frames(read)
        assert (end.event, end.data["error"]["code"]) == ("error", "interrupted")
        assert (await asyncio.wait_for(docker("wait", name), 20)).strip() == "0"
