"""The `llm` command, as a process with a folder of its own: what it prints, and its exit code."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.clients import (
    BOTH_CITIES,
    BREAKS,
    CITIES,
    OUTLASTING,
    PACED,
    assert_hung_up,
    assert_incremental,
    assert_went_on,
    model,
)
from tests.support.headwater import Headwater

# It takes seconds to start, on a busy machine many.
pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

COMMAND: Final = Path(sys.executable).with_name("llm")
RIVERS: Final = "Tell me about rivers."
# Where it reaches out beyond this machine, it fails.
NOWHERE: Final = "http://127.0.0.1:9"
TOOL: Final = """
def get_weather(city: str) -> str:
    "The weather of a place."
    return f"Rain in {city}."
"""
# What is refused, how it is asked, and the status that it tells.
REFUSALS: Final = [("400", [], 400), ("429?retry_after=0", [], 429), ("529?retry_after=0", ["--no-stream"], 503)]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Llm:
    """The command with models of one instance, named as in the file that it has for them."""

    folder: Path
    url: str

    def knows(self, name: str, **options: Any) -> str:
        """Let it have this model under a name of its own."""
        id = f"headwater-{name}"
        known = {"model_id": id, "model_name": name, "api_base": f"{self.url}/v1", "api_key_name": "headwater"}
        # JSON is YAML.
        (self.folder / "extra-openai-models.yaml").write_text(json.dumps([{**known, **options}]))
        return id

    async def run(self, *arguments: str) -> Ran:
        async with self.running(*arguments) as process:
            out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """It is killed in the end, if it has not ended."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env={
                "PATH": os.defpath,
                "HOME": str(self.folder),
                "LLM_USER_PATH": str(self.folder),
                "LLM_LOAD_PLUGINS": "",
                "ALL_PROXY": NOWHERE,
                "HTTP_PROXY": NOWHERE,
                "HTTPS_PROXY": NOWHERE,
                "NO_PROXY": "127.0.0.1",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(headwater: Headwater, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file of keys."""
    folder = tmp_path_factory.mktemp("llm")
    made = Llm(folder, headwater.service.url)
    stored = await made.run("keys", "set", "headwater", "--value", headwater.service.key)
    assert stored.code == 0, stored.err
    return folder / "keys.json"


@pytest.fixture
def llm(headwater: Headwater, keys: Path, tmp_path: Path) -> Llm:
    shutil.copy(keys, tmp_path)
    return Llm(tmp_path, headwater.service.url)


@pytest.fixture(params=["chat", "responses"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Which of OpenAI's APIs it speaks, as an option of its model."""
    return {"responses": True} if request.param == "responses" else {}


async def test_text(llm: Llm, headwater: Headwater, api: dict[str, Any]) -> None:
    name = model()
    known = llm.knows(name, **api)
    streamed = await llm.run("-m", known, "-s", "Be kind.", "-u", RIVERS)
    assert (streamed.code, streamed.out.count("\n")) == (0, 1)
    assert f'You asked "{RIVERS}".' in streamed.out
    assert 'My instructions begin with "Be kind.".' in streamed.out
    assert "Token usage: 21 input, " in streamed.err

    whole = await llm.run("-m", known, "-s", "Be kind.", "--no-stream", RIVERS)
    assert (whole.code, whole.err, whole.out) == (0, "", streamed.out)
    assert len(headwater.asked(name)) == 2


async def test_text_arrives_as_it_is_made(llm: Llm, api: dict[str, Any]) -> None:
    arrivals: list[float] = []
    async with llm.running("-m", llm.knows(model(PACED), **api), RIVERS) as process:
        assert process.stdout is not None
        while await process.stdout.read(1000):
            arrivals.append(time.monotonic())
        assert await process.wait() == 0
    assert_incremental(arrivals)


async def test_a_conversation_goes_on(llm: Llm, api: dict[str, Any]) -> None:
    known = llm.knows(model(), **api)
    assert (await llm.run("-m", known, RIVERS)).code == 0
    second = await llm.run("-c", "And then?")
    assert second.code == 0, second.err
    assert f'This is turn 2; before it you said "{RIVERS}".' in second.out


@pytest.mark.parametrize("options", [[], ["--no-stream"]], ids=["streamed", "whole"])
async def test_tools(llm: Llm, api: dict[str, Any], options: list[str]) -> None:
    known = llm.knows(model(), supports_tools=True, **api)
    ran = await llm.run("-m", known, "--functions", TOOL, "--td", *options, BOTH_CITIES)
    assert ran.code == 0, ran.err
    assert all(f"Rain in {city}." in ran.out for city in CITIES)
    assert all(f"Tool call: get_weather({{'city': '{city}'}})" in ran.err for city in CITIES)


async def test_a_structured_answer(llm: Llm, api: dict[str, Any]) -> None:
    known = llm.knows(model(), supports_schema=True, **api)
    ran = await llm.run("-m", known, "--schema", "name, age int", "Who is it?")
    assert (ran.code, json.loads(ran.out)) == (0, {"name": "Who is it?", "age": 1})


async def test_a_thought_is_shown_apart(llm: Llm) -> None:
    known = llm.knows("claude-sim-thinking", responses=True, reasoning=True)
    ran = await llm.run("-m", known, "Think.")
    assert ran.code == 0
    assert ran.err.startswith('The question is "Think.".')
    assert ran.out.startswith('You asked "Think.".')


# --- Errors


@pytest.mark.parametrize(("fault", "options", "status"), REFUSALS)
async def test_an_error_before_the_stream(
    llm: Llm, api: dict[str, Any], fault: str, options: list[str], status: int
) -> None:
    ran = await llm.run("-m", llm.knows(f"sim-{fault}", **api), *options, RIVERS)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"Error: Error code: {status} - ")


async def test_an_unknown_key(llm: Llm, api: dict[str, Any]) -> None:
    ran = await llm.run("-m", llm.knows(model(), **api), "--key", "hw_unknown", RIVERS)
    assert (ran.code, ran.out, ran.err) == (1, "", "Error: Error code: 401 - This API key is not valid.\n")


@pytest.mark.parametrize("fault", BREAKS)
async def test_an_error_in_the_stream(llm: Llm, fault: str) -> None:
    """Of Chat Completions; that of Responses, `response.failed`, it does not look at."""
    ran = await llm.run("-m", llm.knows(model("after=8", fault=fault)), RIVERS)
    assert ran.code == 1
    assert ran.out.startswith("You asked")
    assert ran.err.startswith("Error: The ")


async def test_an_error_instead_of_the_rest(llm: Llm, api: dict[str, Any]) -> None:
    ran = await llm.run("-m", llm.knows(model("after=8", fault="cut-mid-event"), **api), "--no-stream", RIVERS)
    assert (ran.code, ran.out) == (1, "")
    assert "The connection to the upstream broke." in ran.err


# --- Leaving


async def test_leaving_cancels_where_asked_for(llm: Llm, headwater: Headwater, api: dict[str, Any]) -> None:
    name = model(OUTLASTING)
    left = await leave(llm, llm.knows(name, headers={"x-on-disconnect": "cancel"}, **api))
    await assert_hung_up(headwater, name, left)


async def test_leaving_changes_nothing_otherwise(llm: Llm, headwater: Headwater, api: dict[str, Any]) -> None:
    name = model(OUTLASTING)
    await leave(llm, llm.knows(name, **api))
    await assert_went_on(headwater, name)


async def leave(llm: Llm, known: str) -> float:
    """Read the first piece of text, then end the command as a closed terminal does; the Unix time of that."""
    async with llm.running("-m", known, RIVERS) as process:
        assert process.stdout is not None
        assert await process.stdout.read(1)
        left = time.time()
        process.send_signal(signal.SIGHUP)
        await process.communicate()
        assert process.returncode == -signal.SIGHUP
    return left
