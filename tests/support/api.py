"""The whole application in the test's own process: for endpoints that do not stream."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from app.config import Settings
from app.db.pool import Pool
from app.main import create_app
from tests.support.service import ADMIN_KEY, make_key


class Api:
    """A running application; `state` is what its endpoints find."""

    def __init__(self, app: FastAPI, state: Mapping[str, Any], clients: AsyncExitStack) -> None:
        self.app = app
        self.state = state
        self._clients = clients

    @property
    def pool(self) -> Pool:
        pool: Pool = self.state["pool"]
        return pool

    async def client(self, secret: str | None = None) -> httpx.AsyncClient:
        """A client with this key; closed with the application."""
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        transport = httpx.ASGITransport(self._with_state)
        client = httpx.AsyncClient(transport=transport, base_url="http://headwater.test", headers=headers)
        return await self._clients.enter_async_context(client)

    async def admin(self) -> httpx.AsyncClient:
        return await self.client(ADMIN_KEY)

    async def key(self, *scopes: str, **fields: Any) -> str:
        """The secret of a new key; completions and conversations of the tenant "default" unless said otherwise."""
        return await make_key(await self.admin(), *scopes, **fields)

    async def client_with(self, *scopes: str, **fields: Any) -> httpx.AsyncClient:
        """A client with a new key."""
        return await self.client(await self.key(*scopes, **fields))

    async def _with_state(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(self.state)
        await self.app(scope, receive, send)


class StartApi(Protocol):
    async def __call__(self, **settings: Any) -> Api:
        """Start the application on the test's database. `settings` are those of `app.config` by their names."""


@asynccontextmanager
async def running_api(database_url: str, **settings: Any) -> AsyncIterator[Api]:
    chosen: dict[str, Any] = {
        "database_url": SecretStr(database_url),
        "admin_key": SecretStr(ADMIN_KEY),
        "upstream_base_url": "http://127.0.0.1:9",
        "upstream_api_key": SecretStr("unused"),
        **settings,
    }
    app = create_app(Settings(**chosen))
    async with app.router.lifespan_context(app) as state, AsyncExitStack() as clients:
        assert state is not None
        yield Api(app, state, clients)
