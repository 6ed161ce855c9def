"""What the load reads in the bytes of each dialect: tokens, usage, the end and errors, however the bytes are cut."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from compare.load.answer import Answer
from compare.load.dialects import DIALECTS, Dialect
from tests.support.headwater import Headwater

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final[dict[str, Any]] = {"chat_model": "sim-ok?tokens=30&first_ms=0"}
PIECES: Final = (1, 7, 100_000)
# Pages name no model, and so ask for no fault.
WITH_MODEL: Final = [name for name in DIALECTS if name != "ui_message"]


@pytest.fixture
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client() as client:
        yield client


async def asked(client: httpx.AsyncClient, dialect: Dialect, model: str) -> httpx.Response:
    body = dialect.body(model, 'Say "data: [DONE]".', 40)
    response = await client.post(dialect.path, json=body)
    assert response.status_code == 200, response.text
    return response


def fed(dialect: Dialect, body: bytes, size: int) -> tuple[Answer, list[float]]:
    gaps: list[float] = []
    answer = Answer(dialect, gaps.append)
    answer.begin(0, {})
    for at in range(0, len(body), size):
        if answer.ended is None:
            answer.feed(float(at), body[at : at + size])
    return answer, gaps


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_whole_answer(client: httpx.AsyncClient, name: str) -> None:
    dialect = DIALECTS[name]
    body = (await asked(client, dialect, "sim-ok?tokens=30&first_ms=0")).content
    for size in PIECES:
        answer, gaps = fed(dialect, body, size)
        assert (answer.ended, answer.tokens) == ("whole", 30)
        assert len(gaps) == (29 if size < 100 else 0)
        assert answer.output_tokens in (30, None if name == "ui_message" else 30)


@pytest.mark.parametrize("name", WITH_MODEL)
async def test_an_error_in_the_stream(client: httpx.AsyncClient, name: str) -> None:
    dialect = DIALECTS[name]
    body = (await asked(client, dialect, "sim-error-mid?tokens=30&first_ms=0&after=9")).content
    for size in PIECES:
        answer, _ = fed(dialect, body, size)
        assert answer.ended is not None
        assert answer.ended.startswith("event_")
        assert answer.ended not in ("event_error", "event_response"), body[-400:]
        assert 0 < answer.tokens < 30


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_cut_answer_is_read_on_without_loss(client: httpx.AsyncClient, name: str) -> None:
    dialect = DIALECTS[name]
    whole = await asked(client, dialect, "sim-ok?tokens=30&first_ms=0")
    stream = f"/v1/completions/{whole.headers['x-completion-id']}/stream"
    named = {b"x-completion-id": whole.headers["x-completion-id"].encode()}
    ends = []
    size = len(whole.content)
    for cut in range(size // 3, 2 * size // 3, size // 30):
        answer = Answer(dialect, lambda *_: None)
        answer.begin(0, named)
        answer.feed(0, whole.content[:cut])
        assert answer.resumable
        headers = {"last-event-id": answer.last_event_id}
        rest = await client.get(stream, params={"dialect": name}, headers=headers)
        answer.begin(1, {})
        answer.feed(1, rest.content)
        ends.append((answer.ended, answer.tokens))
    assert set(ends) == {("whole", 30)}
