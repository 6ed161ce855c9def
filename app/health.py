"""`/livez` says that the process answers, `/readyz` that it can do its work, `/metrics` how it is doing."""

import hmac
from collections.abc import Callable

from fastapi import APIRouter
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.dependencies import PoolDep, credentials
from app.domain.errors import Unauthenticated

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Does the process answer?")
async def livez() -> dict[str, str]:
    """Needs no database: a restart would not bring one back."""
    return {"status": "ok"}


@router.get("/readyz", summary="Can it do its work?")
async def readyz(pool: PoolDep) -> dict[str, str]:
    """503 while the database does not answer."""
    async with pool.connection() as conn:
        await conn.execute("SELECT 1 FROM instances LIMIT 1")
    return {"status": "ok"}


def metrics_route(page: Callable[[], bytes], key: SecretStr) -> Route:
    """`/metrics` in Prometheus' text form, for whoever holds `key`. For operators: the API's document has it not."""
    secret = key.get_secret_value().encode()

    async def metrics(request: Request) -> Response:
        if not hmac.compare_digest(credentials(request).encode(), secret):
            raise Unauthenticated("This key does not open the metrics.")
        return Response(page(), media_type="text/plain; version=0.0.4")

    return Route("/metrics", metrics)
