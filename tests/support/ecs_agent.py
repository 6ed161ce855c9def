"""The agent of ECS as a task meets it: an HTTP server that keeps what it was asked."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

GRANTED = {"protection": {"ProtectionEnabled": True, "TaskArn": "arn:task"}}
BLOCKED = {"failure": {"Arn": "arn:task", "Reason": "DEPLOYMENT_BLOCKED"}}


class Agent(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Any] = []
        self.status = 200
        self.answer: dict[str, Any] = GRANTED

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/task"

    async def was_asked(self, times: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.asked) < times:  # noqa: ASYNC110  another thread appends
                await asyncio.sleep(0.01)
        return self.asked


class _Handler(BaseHTTPRequestHandler):
    server: Agent

    def do_PUT(self) -> None:
        assert self.path == "/api/task/task-protection/v1/state"
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        body = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def running_agent() -> Iterator[Agent]:
    with Agent() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
