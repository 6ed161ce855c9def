"""Lambda's Invoke, as boto3 calls it where AWS_ENDPOINT_URL_LAMBDA says to."""

from typing import Final
from urllib.parse import unquote

from aiohttp import web

from local.aws_lambda.invocation import Failure
from local.aws_lambda.service import Service, Throttled

_PATH: Final = "/2015-03-31/functions/{name}/invocations"
_LARGEST_REQUEST: Final = 6 * 1024 * 1024


def invoke_app(service: Service) -> web.Application:
    """Signatures are not looked at: it listens on loopback alone."""

    async def invoke(request: web.Request) -> web.Response:
        name = unquote(request.match_info["name"]).removeprefix(
            service.function.arn.removesuffix(service.function.name)
        )
        if name.split(":")[0] != service.function.name:
            return _refused(404, "ResourceNotFoundException", f"Function not found: {name}")
        payload = await request.read() or b"{}"
        match request.headers.get("X-Amz-Invocation-Type", "RequestResponse"):
            case "Event":
                service.invoke_later(payload)
                return web.Response(status=202)
            case "DryRun":
                return web.Response(status=204)
            case _:
                return await _answered(service, payload)

    app = web.Application(client_max_size=_LARGEST_REQUEST)
    app.router.add_post(_PATH, invoke)
    return app


async def _answered(service: Service, payload: bytes) -> web.Response:
    headers = {"X-Amz-Executed-Version": service.function.version}
    try:
        body = await service.invoke(payload).answer.whole()
    except Throttled:
        return _refused(429, "TooManyRequestsException", "Rate Exceeded.")
    except Failure as failure:
        headers["X-Amz-Function-Error"] = "Unhandled"
        body = failure.payload
    return web.Response(body=body, headers=headers, content_type="application/json")


def _refused(status: int, type: str, message: str) -> web.Response:
    told = {"Type": "User", "Message": message}
    return web.json_response(told, status=status, headers={"X-Amzn-ErrorType": type})
