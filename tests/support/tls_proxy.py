"""TLS in front of a Postgres that was built without: ends it as the server would, and passes on what is inside."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import trustme

from tests.support.postgres import Postgres

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)


class TlsProxy:
    """For `localhost` alone, by its certificate; `ca` is the file of who signed it.

    `passwords` are those that clients sent as they are, oldest first.
    """

    def __init__(self, socket: Path, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._socket = socket
        self.port = 0
        self.passwords: list[str] = []
        self._serving: set[asyncio.Task[None]] = set()

    def url(self, database: str, user: str, *, host: str = "localhost", ca: str | None = None) -> str:
        ca = quote(ca or str(self.ca), safe="")
        return f"postgresql://{user}@{host}:{self.port}/{database}?sslmode=verify-full&sslrootcert={ca}"

    async def end(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))  # noqa: TID251 - held here, and ended by end()
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            closing(writer),
            suppress(OSError, asyncio.IncompleteReadError),
        ):  # a client that does not believe us hangs up
            if await reader.readexactly(8) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(self._context)
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
            with closing(server_writer):
                await asyncio.gather(
                    self._pass_on(reader, server_writer, clients=True),
                    self._pass_on(server_reader, writer, clients=False),
                )

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, clients: bool) -> None:
        while data := await source.read(65_536):
            if clients and data[:1] == b"p":
                self.passwords.append(data[5:].rstrip(b"\0").decode(errors="replace"))
            target.write(data)
            await target.drain()
        target.close()


@asynccontextmanager
async def running_tls_proxy(postgres: Postgres, folder: Path) -> AsyncIterator[TlsProxy]:
    proxy = TlsProxy(postgres.folder / ".s.PGSQL.5432", folder)
    server = await asyncio.start_server(proxy.serve, "localhost", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
