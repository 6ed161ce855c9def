"""A function of Lambda's own runtime, as far as its handler can tell: a process that is told what to do."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.service import ROOT, clean_environment

_DRIVER: Final = Path(__file__).parent / "lambda_driver.py"
_PATIENCE: Final = 40.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


class Function:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    async def do(self, what: str, **more: Any) -> Any:
        """
        Raises:
            RuntimeError: it failed; the message names the exception.
        """
        return await asyncio.to_thread(self._do, what, more)

    def _do(self, what: str, more: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what} | more) + "\n")
        self._process.stdin.flush()
        watchdog = threading.Timer(_PATIENCE, self._process.kill)
        watchdog.start()
        try:
            # Its log is between the answers.
            line = next((line for line in self._process.stdout if line.startswith("\x1e")), None)
        finally:
            watchdog.cancel()
        assert line is not None, f"no answer within {_PATIENCE:g} s, or it died"
        told = json.loads(line[1:])
        if "error" in told:
            raise RuntimeError(told["error"])
        return told["answer"]

    async def invoke(self, event: Any, seconds: float = 60) -> Any:
        return await self.do("invoke", event=event, seconds=seconds)

    async def request(self, method: str, path: str, key: str, body: Any = None, **headers: str) -> Answer:
        return answer_of(await self.invoke(http_event(method, path, key, body, **headers)))


def http_event(method: str, path: str, key: str, body: Any = None, **headers: str) -> dict[str, Any]:
    """As HTTP API sends it (payload format 2.0)."""
    path, _, query = path.partition("?")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"authorization": f"Bearer {key}", "content-type": "application/json", **headers},
        "requestContext": {
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.1"},
            "stage": "$default",
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def answer_of(reply: dict[str, Any]) -> Answer:
    body = reply["body"]
    if reply["isBase64Encoded"]:
        body = base64.b64decode(body).decode()
    return Answer(reply["statusCode"], reply["headers"], json.loads(body) if body.startswith("{") else body)


@contextmanager
def running_function(log: Path, **variables: str) -> Iterator[Function]:
    """A process with these variables; all else that it finds is its path."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, _DRIVER],
            cwd=ROOT,
            env=clean_environment(**variables, PYTHONPATH=str(ROOT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Function(process)
    finally:
        process.kill()
        process.communicate()
