"""The least that a Python web service can be, to measure starts against: `python -m bench.bare PORT`."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def livez(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


if __name__ == "__main__":
    uvicorn.run(Starlette(routes=[Route("/livez", livez)]), port=int(sys.argv[1]), log_level="warning")
