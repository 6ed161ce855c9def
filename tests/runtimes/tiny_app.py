"""A web application for the local Lambda to run; it notes what it is called for in the file that TINY_LOG names."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import uvicorn

_LOG = Path(os.environ["TINY_LOG"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    message = await receive()
    path = scope["path"]
    _note(path)
    if path == "/exit":
        os._exit(3)
    if path == "/hang":
        await asyncio.sleep(600)
    if path == "/break":
        raise RuntimeError
    headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    status = 599 if path == "/events" and b"fail" in message["body"] else 201
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if path == "/pieces":
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"piece ", "more_body": True})
            await asyncio.sleep(0.1)
    told = {"pid": os.getpid(), "body": message["body"].decode(), "query": scope["query_string"].decode()}
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def _note(path: str) -> None:
    with _LOG.open("a") as log:
        log.write(path + "\n")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="critical", lifespan="off")
