"""`python -m local.aws_lambda.stand_in_adapter`: what Lambda's web adapter 1.1.0 does, as its documentation has it.

For machines without the adapter's own program, and for its hooks around a snapshot where only an older one can be had.
It streams, passes events through, reports the statuses it is told to as failures, and takes several invocations at a
time. Its order around a snapshot: application ready, before-checkpoint, `restore/next`, after-restore, ready again.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

_RUNTIME: Final = "2018-06-01/runtime"
_EXTENSION: Final = "2020-01-01/extension"
_POLL: Final = 0.01
# Of its hooks, in seconds.
_HOOK: Final = 60.0
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class Options:
    """From the AWS_LWA_ variables, and those of the environment."""

    runtime: str
    app: str
    readiness: str
    pass_through: str
    before_checkpoint: str
    after_restore: str
    error_statuses: frozenset[int]
    streams: bool
    snapstart: bool
    concurrency: int


def options(given: Mapping[str, str]) -> Options:
    app = f"http://127.0.0.1:{given.get('AWS_LWA_PORT', '8080')}"
    return Options(
        runtime=f"http://{given['AWS_LAMBDA_RUNTIME_API']}",
        app=app,
        readiness=app + given.get("AWS_LWA_READINESS_CHECK_PATH", "/"),
        pass_through=given.get("AWS_LWA_PASS_THROUGH_PATH", "/events"),
        before_checkpoint=given.get("AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH", ""),
        after_restore=given.get("AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH", ""),
        error_statuses=_statuses(given.get("AWS_LWA_ERROR_STATUS_CODES", "")),
        streams=given.get("AWS_LWA_INVOKE_MODE", "").lower() == "response_stream",
        snapstart=given.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start",
        concurrency=int(given.get("AWS_LAMBDA_MAX_CONCURRENCY", "1")),
    )


def _statuses(text: str) -> frozenset[int]:
    """Of numbers and ranges: `500,502-504`."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return frozenset(status for first, _, last in ends for status in range(int(first), int(last or first) + 1))


async def run(chosen: Options) -> None:
    """Serve invocations for as long as the environment lives."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=_NO_LIMIT, connector=connector) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(_park(http, chosen))
        await _until_ready(http, chosen)
        if chosen.snapstart:
            await _call_hook(http, chosen, chosen.before_checkpoint)
            await _get(http, f"{chosen.runtime}/{_RUNTIME}/restore/next")
            await _call_hook(http, chosen, chosen.after_restore)
            await _until_ready(http, chosen)
        for _ in range(chosen.concurrency):
            tasks.create_task(_serve(http, chosen))


async def _park(http: aiohttp.ClientSession, chosen: Options) -> None:
    """To be an extension is what buys a function its SIGTERM."""
    headers = {"Lambda-Extension-Name": "lambda-adapter"}
    async with http.post(f"{chosen.runtime}/{_EXTENSION}/register", json={"events": []}, headers=headers) as registered:
        registered.raise_for_status()
        id = registered.headers["Lambda-Extension-Identifier"]
    await _get(http, f"{chosen.runtime}/{_EXTENSION}/event/next", {"Lambda-Extension-Identifier": id})


async def _get(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None) -> None:
    async with http.get(url, headers=headers) as response:
        response.raise_for_status()
        await response.read()


async def _until_ready(http: aiohttp.ClientSession, chosen: Options) -> None:
    while not await _is_ready(http, chosen):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(_POLL)


async def _is_ready(http: aiohttp.ClientSession, chosen: Options) -> bool:
    try:
        async with http.get(chosen.readiness) as response:
            return response.status < 500
    except aiohttp.ClientError:
        return False


async def _call_hook(http: aiohttp.ClientSession, chosen: Options, path: str) -> None:
    """What is not a success fails the start, or the restore."""
    if path:
        async with asyncio.timeout(_HOOK), http.post(chosen.app + path) as response:
            response.raise_for_status()


async def _serve(http: aiohttp.ClientSession, chosen: Options) -> None:
    while True:
        async with http.get(f"{chosen.runtime}/{_RUNTIME}/invocation/next") as next_one:
            event, told = await next_one.read(), next_one.headers
        url = f"{chosen.runtime}/{_RUNTIME}/invocation/{told['Lambda-Runtime-Aws-Request-Id']}"
        try:
            await _answer(http, chosen, url, json.loads(event), _context(told))
        except (aiohttp.ClientError, _Failed) as error:
            failure = {"errorType": "Error", "errorMessage": str(error)}
            await http.post(f"{url}/error", json=failure)


class _Failed(Exception):
    """The application answered with a status that means so."""


async def _answer(http: aiohttp.ClientSession, chosen: Options, url: str, event: Any, context: str) -> None:
    method, path, headers, body = _request(event, chosen)
    headers["x-amzn-request-context"] = json.dumps(
        event.get("requestContext") if isinstance(event, dict) else None, separators=(",", ":")
    )
    headers["x-amzn-lambda-context"] = context
    target = URL(chosen.app + path, encoded=True)
    async with http.request(method, target, headers=headers, data=body, allow_redirects=False) as response:
        if response.status in chosen.error_statuses:
            raise _Failed(f"Request failed with configured error status code: {response.status}")
        if chosen.streams:
            await _stream(http, url, response)
        else:
            await _send_whole(http, url, response, of_front_door=_is_request(event))


async def _stream(http: aiohttp.ClientSession, url: str, response: aiohttp.ClientResponse) -> None:
    headers = {
        "Lambda-Runtime-Function-Response-Mode": "streaming",
        "Content-Type": "application/vnd.awslambda.http-integration-response",
    }

    async def pieces() -> AsyncIterator[bytes]:
        yield json.dumps(_head(response)).encode()
        yield b"\0" * 8
        async for piece in response.content.iter_any():
            yield piece

    await http.post(f"{url}/response", data=pieces(), headers=headers)


async def _send_whole(
    http: aiohttp.ClientSession, url: str, response: aiohttp.ClientResponse, *, of_front_door: bool
) -> None:
    """What comes of any other event is answered as it is, if it is JSON."""
    content = await response.read()
    if of_front_door:
        body = base64.b64encode(content).decode()
        await http.post(f"{url}/response", json={**_head(response), "body": body, "isBase64Encoded": True})
    else:
        await http.post(f"{url}/response", data=content)


def _head(response: aiohttp.ClientResponse) -> dict[str, Any]:
    moved = ("set-cookie", "transfer-encoding")
    headers = {name: value for name, value in response.headers.items() if name.lower() not in moved}
    cookies = response.headers.getall("set-cookie", [])
    return {"statusCode": response.status, "headers": headers, "cookies": cookies}


def _is_request(event: Any) -> bool:
    return isinstance(event, dict) and "requestContext" in event


def _request(event: Any, chosen: Options) -> tuple[str, str, CIMultiDict[str], bytes]:
    """The HTTP request of a front door's event; what is none is passed through."""
    if not _is_request(event):
        return (
            "POST",
            chosen.pass_through,
            CIMultiDict({"content-type": "application/json"}),
            json.dumps(event).encode(),
        )
    body = event.get("body") or ""
    data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if event.get("version") == "2.0":
        headers = CIMultiDict(event["headers"])
        if cookies := event.get("cookies"):
            headers["cookie"] = "; ".join(cookies)
        method, path, query = event["requestContext"]["http"]["method"], event["rawPath"], event["rawQueryString"]
    else:
        several = event["multiValueHeaders"] or {}
        headers = CIMultiDict((name, value) for name, values in several.items() for value in values)
        method, path = event["httpMethod"], event["path"]
        query = urlencode(event["multiValueQueryStringParameters"] or {}, doseq=True)
    for name in ("content-length", "transfer-encoding"):
        headers.popall(name, None)
    return method, path + (f"?{query}" if query else ""), headers, data


def _context(told: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "request_id": told["Lambda-Runtime-Aws-Request-Id"],
            "deadline": int(told["Lambda-Runtime-Deadline-Ms"]),
            "invoked_function_arn": told["Lambda-Runtime-Invoked-Function-Arn"],
            "xray_trace_id": told.get("Lambda-Runtime-Trace-Id"),
        },
        separators=(",", ":"),
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(run(options(os.environ))))
