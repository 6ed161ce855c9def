"""Our connections to the upstream, against servers that answer byte by byte as a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
import trustme

from app.config import Settings
from app.providers.anthropic import AnthropicProvider
from app.providers.base import ProviderRequest, ProviderStream
from app.providers.transport import MAY_SEND, READER, Connection, DirectTransport, Pool
from app.providers.transport.pool import IDLE
from local.upstream import SimulatedUpstream

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """Counts its connections and the bytes of what it was asked."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.connections = 0
        self.lost = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answering(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.lost += 1
            writer.close()


@asynccontextmanager
async def serving(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answering)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    try:
        server.url = f"http{'s' if tls else ''}://localhost:{listening.sockets[0].getsockname()[1]}/"
        yield server
    finally:
        listening.close()


@asynccontextmanager
async def connecting(
    limit: int = 10, *, tls: ssl.SSLContext | None = None, **timeouts: float
) -> AsyncIterator[tuple[httpx2.AsyncClient, Pool]]:
    pool = Pool(limit, tls)
    timeout = httpx2.Timeout(None, **timeouts)
    async with httpx2.AsyncClient(transport=DirectTransport(pool), timeout=timeout) as client:
        yield client, pool


async def opened(client: httpx2.AsyncClient, url: str, content: bytes = b"{}") -> tuple[httpx2.Response, Connection]:
    response = await client.send(client.build_request("POST", url, content=content), stream=True)
    return response, response.extensions[READER]


async def whole(connection: Connection) -> bytes:
    read = b""
    while more := await connection.read():
        read += more
    return read


def answers(*parts: bytes, pause: float = 0.0) -> Answering:
    """To each request on a connection the same, part by part."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"{}")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)

    return answer


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of the sockets' other ends, which nobody tells of
            await asyncio.sleep(0.01)


async def test_a_body_is_handed_on_as_it_comes() -> None:
    async with (
        serving(answers(HEAD + chunk(b"one"), chunk(b"two") + LAST, pause=0.05)) as server,
        connecting() as (
            client,
            _,
        ),
    ):
        response, connection = await opened(client, server.url)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        assert [await connection.read() for _ in range(3)] == [b"one", b"two", b""]
        await response.aclose()


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_body_is_poured_as_it_comes_until_it_ends(pause: float) -> None:
    """Also what has come before."""
    poured: list[bytes] = []

    def sink(body: bytes) -> bool:
        poured.append(body)
        return False

    parts = (HEAD + chunk(b"one"), chunk(b"two"), chunk(b"three") + LAST)
    async with serving(answers(*parts, pause=pause)) as server, connecting() as (client, _):
        for _ in range(2):
            response, connection = await opened(client, server.url)
            poured.clear()
            assert not await connection.pour(sink)
            assert b"".join(poured) == b"onetwothree"
            await response.aclose()
        assert server.connections == 1


async def test_who_has_had_enough_is_given_no_more() -> None:
    poured: list[bytes] = []

    def sink(body: bytes) -> bool:
        poured.append(body)
        return body == b"two"

    parts = (HEAD + chunk(b"one"), chunk(b"two"), chunk(b"three"), LAST)
    async with serving(answers(*parts, pause=0.05)) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        assert await connection.pour(sink)
        await asyncio.sleep(0.1)
        assert poured == [b"one", b"two"]
        assert await connection.read() == b"three"


async def test_a_sink_that_fails_ends_the_pouring_with_its_own_error() -> None:
    def sink(body: bytes) -> bool:
        raise ZeroDivisionError

    async with serving(answers(HEAD + chunk(b"one"))) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        with pytest.raises(ZeroDivisionError):
            await connection.pour(sink)


async def test_a_connection_that_breaks_ends_the_pouring_once_what_came_was_given() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(HEAD + chunk(b"one"))
        await writer.drain()

    poured: list[bytes] = []

    def sink(body: bytes) -> bool:
        poured.append(body)
        return False

    async with serving(answer) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        with pytest.raises(httpx2.ReadError):
            await connection.pour(sink)
        assert poured == [b"one"]


async def test_one_connection_serves_requests_that_follow_one_another() -> None:
    async with serving(answers(HEAD + chunk(b"x") + LAST)) as server, connecting() as (client, _):
        for _ in range(3):
            response, connection = await opened(client, server.url)
            assert await whole(connection) == b"x"
            await response.aclose()
        assert server.connections == 1


async def test_a_body_left_just_before_its_end_costs_no_connection() -> None:
    """As a stream of events is: its last event comes before its last chunk."""
    async with (
        serving(answers(HEAD + chunk(b"last event"), LAST, pause=0.05)) as server,
        connecting() as (client, pool),
    ):
        for _ in range(3):
            _, connection = await opened(client, server.url)
            assert await connection.read() == b"last event"
            connection.leave(at_end=True)
            await eventually(lambda: bool(sum(map(len, pool._idle.values()))))
        assert server.connections == 1


async def test_a_body_whose_end_never_comes_is_given_up() -> None:
    async with serving(answers(HEAD + chunk(b"last event"))) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        await connection.read()
        connection.leave(at_end=True)
        await eventually(lambda: server.lost == 1)


async def test_a_body_left_in_the_middle_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.providers.transport.connection._LAST_CHUNK", 60.0)  # it has none of this time
    async with serving(answers(HEAD + chunk(b"more to come"))) as server, connecting() as (client, _):
        response, connection = await opened(client, server.url)
        await connection.read()
        await response.aclose()
        await eventually(lambda: server.lost == 1)


@pytest.mark.parametrize("field", [b"connection: close\r\n", b""])
async def test_what_the_server_closes_is_not_used_again(field: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\n" + field + b"content-length: 2\r\n\r\nok")
        await writer.drain()

    async with serving(answer) as server, connecting() as (client, pool):
        for _ in range(2):
            response, connection = await opened(client, server.url)
            assert await whole(connection) == b"ok"
            await response.aclose()
            await eventually(lambda: not any(pool._idle.values()))
        assert server.connections == 2


async def test_a_connection_that_rested_too_long_is_not_used_again() -> None:
    async with serving(answers(HEAD + LAST)) as server, connecting() as (client, _):
        response, connection = await opened(client, server.url)
        assert await whole(connection) == b""
        await response.aclose()
        connection.idle_since -= IDLE  # by the wall clock, which also counts while a process is frozen
        await opened(client, server.url)
        assert server.connections == 2


async def test_interim_answers_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n"
    async with serving(answers(hints + HEAD, chunk(b"x") + LAST)) as server, connecting() as (client, _):
        response, connection = await opened(client, server.url)
        assert (response.status_code, "link" in response.headers) == (200, False)
        assert await whole(connection) == b"x"


async def test_a_body_may_end_with_the_connection() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall there is")
        await writer.drain()

    async with serving(answer) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        assert await whole(connection) == b"all there is"


@pytest.mark.parametrize(
    "sent", [HEAD + chunk(b"x"), HEAD + b"5\r\nab", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]
)
async def test_a_body_that_is_cut_is_an_error(sent: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(sent)
        await writer.drain()

    async with serving(answer) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        with pytest.raises(httpx2.ReadError):
            await whole(connection)


@pytest.mark.parametrize("sent", [b"SSH-2.0-nothing\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", HEAD + b"zz\r\n"])
async def test_what_is_no_http_is_an_error(sent: bytes) -> None:
    async with serving(answers(sent)) as server, connecting() as (client, _):
        with pytest.raises(httpx2.RemoteProtocolError):
            await whole((await opened(client, server.url))[1])
        await eventually(lambda: server.lost == 1)


async def test_a_reader_that_waits_holds_the_server_back() -> None:
    written = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"{}")
        writer.write(HEAD)
        for _ in range(400):
            writer.write(chunk(b"x" * 100_000))
            await writer.drain()
            written += 100_000
        writer.write(LAST)

    async with serving(answer) as server, connecting() as (client, _):
        _, connection = await opened(client, server.url)
        await eventually(lambda: connection._unread > 256 * 1024)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.3)
        assert 0 < written < 20_000_000  # what the sockets of both sides hold
        assert connection._unread < 1_000_000
        assert len(await whole(connection)) == 40_000_000


async def _takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def test_a_request_that_is_not_taken_is_given_up() -> None:
    async with serving(_takes_nothing) as server, connecting(write=0.3) as (client, _):
        with pytest.raises(httpx2.WriteTimeout):
            await opened(client, server.url, b"x" * 30_000_000)


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    async with serving(_takes_nothing) as server, connecting(read=0.3) as (client, _):
        with pytest.raises(httpx2.ReadTimeout):
            await opened(client, server.url)


async def test_a_refusal_before_the_body_was_taken_is_heard() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\n\r\ntoo long")
        await writer.drain()
        await asyncio.sleep(1)

    async with serving(answer) as server, connecting() as (client, _):
        response, connection = await opened(client, server.url, b"x" * 30_000_000)
        assert (response.status_code, await whole(connection)) == (413, b"too long")
        await response.aclose()


async def test_nobody_there() -> None:
    async with serving(_takes_nothing) as server:
        pass
    async with connecting() as (client, _):
        for _ in range(20):  # more often than there are places
            with pytest.raises(httpx2.ConnectError):
                await opened(client, server.url)


async def test_more_requests_than_connections_wait_for_one() -> None:
    async with serving(answers(HEAD + chunk(b"x"))) as server, connecting(limit=1, pool=0.2) as (client, _):
        first, _ = await opened(client, server.url)
        with pytest.raises(httpx2.PoolTimeout):
            await opened(client, server.url)
        await first.aclose()
        await opened(client, server.url)


async def test_who_waits_for_a_connection_gets_the_place_of_one_that_has_done_its_work() -> None:
    async with serving(answers(HEAD + chunk(b"x"), LAST, pause=0.2)) as server, connecting(limit=1) as (client, _):
        first, connection = await opened(client, server.url)
        waiting = asyncio.get_running_loop().create_task(opened(client, server.url))
        assert await whole(connection) == b"x"
        await first.aclose()
        async with asyncio.timeout(10):
            response, connection = await waiting
        assert await whole(connection) == b"x"
        await response.aclose()


async def test_nothing_is_sent_before_it_may_be() -> None:
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        asked.set()
        writer.write(HEAD + LAST)

    async with serving(answer) as server, connecting() as (client, _):
        MAY_SEND.set(may_send := asyncio.get_running_loop().create_future())
        opening = asyncio.get_running_loop().create_task(opened(client, server.url))
        await eventually(lambda: server.connections == 1)
        await asyncio.sleep(0.1)
        assert not asked.is_set()
        may_send.set_result(None)
        await opening
        assert asked.is_set()


async def test_one_that_was_not_let_send_leaves_nothing_behind() -> None:
    async with serving(_takes_nothing) as server, connecting(limit=1) as (client, pool):
        MAY_SEND.set(asyncio.get_running_loop().create_future())
        opening = asyncio.get_running_loop().create_task(opened(client, server.url))
        await eventually(lambda: server.connections == 1)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await eventually(lambda: not pool._origins)


async def test_tls_is_verified() -> None:
    authority, listening = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(listening)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(answers(HEAD + chunk(b"x") + LAST), listening) as server:
        async with connecting(tls=trusting) as (client, _):
            for _ in range(2):
                response, connection = await opened(client, server.url)
                assert await whole(connection) == b"x"
                await response.aclose()
            assert server.connections == 1
        async with connecting() as (client, _):
            with pytest.raises(httpx2.ConnectError):
                await opened(client, server.url)


async def test_behind_a_proxy_the_sdks_own_client_is_used(
    upstream: SimulatedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As proxies do for plain HTTP: the request's line has the whole address."""
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST http://upstream.example/v1/messages")
        there, beyond = await asyncio.open_connection("127.0.0.1", int(upstream.url.rpartition(":")[2]))
        beyond.write(head.replace(b"http://upstream.example", b"", 1))
        asking = asyncio.get_running_loop().create_task(_pump(reader, beyond))
        await _pump(there, writer)
        asking.cancel()
        beyond.close()
        await beyond.wait_closed()

    async with serving(pass_on) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        provider = AnthropicProvider(
            Settings.model_validate({"upstream_base_url": "http://upstream.example", "upstream_api_key": "any"})
        )
        may_send = asyncio.get_running_loop().create_future()
        opening = asyncio.get_running_loop().create_task(provider.open(_asked(), may_send))
        await asyncio.sleep(0.2)
        assert proxy.connections == 0
        may_send.set_result(None)
        stream = await opening
        read = [event async for event in _events(stream)]
        await stream.aclose(at_end=True)
        await provider.aclose()
    assert (b"message_start" in read[0], b"message_stop" in read[-1]) == (True, True)
    assert proxy.connections == 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def _asked() -> ProviderRequest:
    body = {"model": "claude-sim", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello."}]}
    return ProviderRequest(body, "2023-06-01")


async def _events(stream: ProviderStream) -> AsyncIterator[bytes]:
    while events := await stream.read():
        for event in events:
            yield event
