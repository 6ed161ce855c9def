"""A way to Postgres that breaks exactly where it hurts: after the commit, before its answer."""

import asyncio
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

# ReadyForQuery outside a transaction: the server has committed, or had nothing to (the frontend/backend protocol).
_READY: Final = b"Z\x00\x00\x00\x05I"


class CuttingProxy:
    """Between a service and the Unix socket of a server, for the time of an `async with`.

    While `cutting` is not None, a connection is closed instead of answering a statement that contains it; the answer
    has been given by the server, and is lost. `cuts` counts them.
    """

    def __init__(self, database_url: str) -> None:
        split = urlsplit(database_url)
        self._socket = f"{parse_qs(split.query)['host'][0]}/.s.PGSQL.5432"
        self._database = split.path[1:]
        self._server: asyncio.Server | None = None
        self.cutting: bytes | None = None
        self.cuts = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}/{self._database}?sslmode=disable&gssencmode=disable"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        doomed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._asked(reader, server_writer, doomed))
                pumps.create_task(self._answered(server_reader, writer, doomed))
        except* OSError:
            pass
        finally:
            writer.close()
            server_writer.close()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(2**20):
            if self.cutting is not None and self.cutting in data:
                doomed.set()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _answered(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(2**20):
            if not doomed.is_set():
                writer.write(data)
                await writer.drain()
            elif data.endswith(_READY):
                self.cuts += 1
                break
        raise ConnectionResetError
