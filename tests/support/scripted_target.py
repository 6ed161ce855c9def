"""A target whose truth is known: `python tests/support/scripted_target.py PORT SCRIPT` streams as the script says.

The script is JSON: `latencies`, milliseconds to the first token of one request after the other; `faults`, what befalls
them, begun anew at its end; `key`, without which it answers 401; `certificate`, a file with key and chain, for TLS;
`stall`, when everything stands still, in seconds from the first request, and for how long.
"""

import asyncio
import json
import re
import ssl
import sys
from collections import Counter
from typing import Any

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_RESUMED = re.compile(rb"GET /v1/completions/(\d)-\d+/stream\?dialect=plain ")
# Of streams that were cut: how often the rest of one is not told before it is.
_RELUCTANCE = {"resumable": 0, "reluctant": 1, "gone": 9}
_LAST_ID = re.compile(rb"last-event-id: (\d+)", re.IGNORECASE)
_HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    "server-timing: upstream;dur=5, home;desc=fargate, instance;desc=a-1, start;desc={start}\r\n{more}\r\n"
)
_TEXT = b'id: %d\ndata: {"text": "data: [DONE]"}\n\n'
_USAGE = b'id: 8\nevent: usage\ndata: {"stop_reason":"end_turn","usage":{"output_tokens":3}}\n\n'
_END = b"id: 9\ndata: [DONE]\n\n"
_ERROR = (
    b'id: 9\nevent: error\ndata: {"error": {"type": "api_error", "code": "upstream_connection", "message": ""}}\n\n'
)
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Target:
    def __init__(self, script: dict[str, Any]) -> None:
        self._latencies = script["latencies"]
        self._faults = script.get("faults", ["none"])
        self._key = script.get("key", "").encode()
        self._stall = script.get("stall")
        self._number = 0
        self._began: float | None = None
        self._refused: Counter[bytes] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            if self._key and b"authorization: Bearer " + self._key + b"\r\n" not in head:
                writer.write(_REFUSED)
                return
            await (self._rest(writer, head) if head.startswith(b"GET") else self._answer(writer))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        came = loop.time()
        self._began = self._began if self._began is not None else came
        number, self._number = self._number, self._number + 1
        fault = self._faults[number % len(self._faults)]
        if fault == "503":
            writer.write(_BUSY)
            return
        latency = self._latencies[number % len(self._latencies)] / 1000
        await asyncio.sleep(self._awake(came + latency) - loop.time())
        more = f"x-completion-id: {_RELUCTANCE[fault]}-{number}\r\n" if fault in _RELUCTANCE else ""
        writer.write(_HEAD.format(start="warm" if number else "cold", more=more).encode() + _chunk(_TEXT % 4))
        if fault == "cut" or fault in _RELUCTANCE:
            writer.write(_chunk(_TEXT[:9]))
            return
        writer.write(_chunk(_ERROR if fault == "error" else _TEXT % 5 + _TEXT % 6 + _USAGE + _END) + b"0\r\n\r\n")

    def _awake(self, moment: float) -> float:
        if self._stall is None or self._began is None:
            return moment
        begins = self._began + self._stall[0]
        ends = begins + self._stall[1]
        return ends if begins <= moment < ends else moment

    async def _rest(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        asked, after = _RESUMED.match(head), _LAST_ID.search(head)
        if asked and self._refused[asked[0]] < int(asked[1]):
            self._refused[asked[0]] += 1
            return
        if asked is None or after is None or after[1] != b"4":
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            return
        rest = _chunk(_TEXT % 5 + _TEXT % 6 + _USAGE + _END)
        writer.write(_HEAD.format(start="warm", more="").encode() + rest + b"0\r\n\r\n")


async def _main(port: int, script: dict[str, Any]) -> None:
    tls = None
    if "certificate" in script:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(script["certificate"])
    server = await asyncio.start_server(Target(script).serve, "127.0.0.1", port, backlog=1000, ssl=tls)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), json.loads(sys.argv[2])))
