"""The HTTP APIs inside an environment: for the runtime, for extensions, and for credentials."""

import json
import secrets
from typing import Any, Final

from aiohttp import web

from local.aws_lambda.exchange import Exchange
from local.aws_lambda.function import KEY_VARIABLES, Function
from local.aws_lambda.invocation import Failure, Invocation

_RUNTIME: Final = "/2018-06-01/runtime"
_EXTENSION: Final = "/2020-01-01/extension"
CREDENTIALS_PATH: Final = "/2021-04-23/credentials"

# Of a buffered response, with what Lambda allows for its envelope.
_LARGEST_BUFFERED: Final = 6 * 1024 * 1024 + 100
_LARGEST_STREAMED: Final = 200 * 1024 * 1024
_ERROR_TYPE: Final = "Lambda-Runtime-Function-Error-Type"


class RuntimeApi:
    """Of one environment. `address` is what its processes find in AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, function: Function, exchange: Exchange) -> None:
        self.token = secrets.token_urlsafe(32)
        self._function = function
        self._exchange = exchange
        # A runtime that went away must not be handed an invocation.
        self._runner = web.AppRunner(self._app(), access_log=None, handler_cancellation=True, shutdown_timeout=0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def close(self) -> None:
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BUFFERED)
        app.add_routes(
            [
                web.get(_RUNTIME + "/invocation/next", self._next),
                web.post(_RUNTIME + "/invocation/{id}/response", self._respond),
                web.post(_RUNTIME + "/invocation/{id}/error", self._respond_error),
                web.post(_RUNTIME + "/init/error", self._fail),
                web.post(_EXTENSION + "/register", self._register),
                web.get(_EXTENSION + "/event/next", self._next_event),
                web.post(_EXTENSION + "/init/error", self._fail),
                web.post(_EXTENSION + "/exit/error", self._fail),
            ]
        )
        if self._function.snapstart:
            app.add_routes(
                [
                    web.get(_RUNTIME + "/restore/next", self._restore_next),
                    web.post(_RUNTIME + "/restore/error", self._fail),
                    web.get(CREDENTIALS_PATH, self._give_credentials),
                ]
            )
        return app

    # --- The runtime ---

    async def _next(self, _request: web.Request) -> web.Response:
        invocation = await self._exchange.next()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(round(invocation.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace,
        }
        return web.Response(body=invocation.payload, headers=headers, content_type="application/json")

    async def _respond(self, request: web.Request) -> web.Response:
        invocation = self._invocation(request)
        mode = request.headers.get("Lambda-Runtime-Function-Response-Mode")
        if mode not in (None, "streaming"):
            return _refused(400, "InvalidFunctionResponseMode")
        try:
            if mode is None:
                await self._take_whole(invocation, request)
            else:
                await self._take_pieces(invocation, request)
        finally:  # nothing, if it has ended
            broken = Failure("Runtime.TruncatedResponse", "The runtime's connection broke within its response.")
            self._exchange.end(invocation, broken)
        return _accepted()

    async def _take_whole(self, invocation: Invocation, request: web.Request) -> None:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            message = f"Response payload size exceeded maximum allowed payload size ({_LARGEST_BUFFERED - 100} bytes)."
            self._exchange.end(invocation, Failure("Function.ResponseSizeTooLarge", message))
            raise
        invocation.answer.begin(request.content_type, streaming=False)
        invocation.answer.feed(body)
        self._exchange.end(invocation)

    async def _take_pieces(self, invocation: Invocation, request: web.Request) -> None:
        invocation.answer.begin(request.content_type, streaming=True)
        taken = 0
        async for piece in request.content.iter_any():
            taken += len(piece)
            if taken > _LARGEST_STREAMED:
                message = "The streamed response is larger than 200 MB."
                self._exchange.end(invocation, Failure("Function.ResponseSizeTooLarge", message))
            invocation.answer.feed(piece)
        self._exchange.end(invocation)

    async def _respond_error(self, request: web.Request) -> web.Response:
        self._exchange.end(self._invocation(request), await _failure(request))
        return _accepted()

    async def _fail(self, request: web.Request) -> web.Response:
        """Of the start, or of a restore: the environment cannot be used."""
        self._exchange.fail(await _failure(request))
        return _accepted()

    async def _restore_next(self, _request: web.Request) -> web.Response:
        await self._exchange.wait_for_restore()
        return web.Response()

    def _invocation(self, request: web.Request) -> Invocation:
        invocation = self._exchange.running.get(request.match_info["id"])
        if invocation is None:
            raise web.HTTPBadRequest(text=_refusal("InvalidRequestID"), content_type="application/json")
        if invocation.answer.has_begun or invocation.answer.ended:
            raise web.HTTPForbidden(text=_refusal("InvalidStateTransition"), content_type="application/json")
        return invocation

    # --- Extensions ---

    async def _register(self, request: web.Request) -> web.Response:
        name = request.headers.get("Lambda-Extension-Name")
        if not name:
            return _refused(400, "Extension.InvalidExtensionName")
        body = json.loads(await request.read() or b"{}")
        id = self._exchange.register(name, frozenset(body.get("events", ())))
        told = {
            "functionName": self._function.name,
            "functionVersion": self._function.version,
            "handler": self._function.environment.get("_HANDLER", ""),
        }
        return web.json_response(told, headers={"Lambda-Extension-Identifier": id})

    async def _next_event(self, request: web.Request) -> web.Response:
        extension = self._exchange.extensions.get(request.headers.get("Lambda-Extension-Identifier", ""))
        if extension is None:
            return _refused(403, "Extension.InvalidExtensionIdentifier")
        return web.json_response(await self._exchange.next_event(extension))

    # --- Credentials ---

    async def _give_credentials(self, request: web.Request) -> web.Response:
        if not secrets.compare_digest(request.headers.get("Authorization", ""), self.token):
            return _refused(401, "InvalidToken")
        given = self._function.credentials
        names = dict(zip(("AccessKeyId", "SecretAccessKey", "Token"), KEY_VARIABLES, strict=True))
        told = {name: given.get(variable, "") for name, variable in names.items()}
        return web.json_response({**told, "Expiration": "2099-01-01T00:00:00Z"})


async def _failure(request: web.Request) -> Failure:
    payload = await request.read()
    type = request.headers.get(_ERROR_TYPE, "Runtime.UnknownError")
    try:
        told: Any = json.loads(payload)
    except ValueError:
        return Failure(type, payload.decode(errors="replace"))
    return Failure(told.get("errorType", type), told.get("errorMessage", ""), payload)


def _accepted() -> web.Response:
    return web.json_response({"status": "OK"}, status=202)


def _refused(status: int, type: str) -> web.Response:
    return web.Response(text=_refusal(type), status=status, content_type="application/json")


def _refusal(type: str) -> str:
    return json.dumps({"errorMessage": type, "errorType": type})
