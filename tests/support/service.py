"""Instances of the service as processes: `python -m app` on a loopback port."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

import httpx

from tests.support.log_lines import check_logs

ROOT: Final = Path(__file__).parents[2]
ADMIN_KEY: Final = "hw_admin_of_the_tests"
_PATIENCE: Final = 30.0
# What a developer's own shell may set would change what is tested.
_FOREIGN: Final = ("ANTHROPIC_", "HEADWATER_", "DATABASE_URL", "PG", "AWS_")


@dataclass
class Service:
    """One instance. `key` has the scopes completions and conversations in the tenant "default"; `log` is its output."""

    url: str
    admin_key: str
    key: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A client with `key`, or with the service's own; use it with `async with`."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, **{"timeout": 30, **options})

    def kill(self) -> None:
        """As by `kill -9`."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Begin the drain."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, within: float = _PATIENCE) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        return await asyncio.to_thread(self.process.wait, within)


class StartService(Protocol):
    async def __call__(
        self,
        *,
        database_url: str | None = None,
        upstream_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "app",
        **settings: object,
    ) -> Service:
        """Start an instance, on the test's database and upstream unless others are given, and wait until it is ready.

        `settings` are those of `app.config` by their names: `lease=3`; `environment` is what else it finds there.
        `module` is what is run.
        """


class Services:
    """Starts instances, and ends all of them."""

    def __init__(self, folder: Path, database_url: str, upstream_url: str) -> None:
        self._folder = folder
        self._database_url = database_url
        self._upstream_url = upstream_url
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(
        self,
        *,
        database_url: str | None = None,
        upstream_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "app",
        **settings: object,
    ) -> Service:
        port = _free_port()
        whole = clean_environment(
            **{"AWS_EC2_METADATA_DISABLED": "true", **(environment or {})},  # nobody asks the machine for credentials
            DATABASE_URL=database_url or self._database_url,
            ANTHROPIC_BASE_URL=upstream_url or self._upstream_url,
            ANTHROPIC_API_KEY="the-upstreams-own-key",
            HEADWATER_PORT=port,
            HEADWATER_ADMIN_KEY=ADMIN_KEY,
            **{f"HEADWATER_{name.upper()}": value for name, value in settings.items()},
        )
        log = self._folder / f"service-{len(self._processes) + 1}.log"
        process = self._launch(module, whole, log)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers={"x-api-key": ADMIN_KEY}) as admin:
            assert await _becomes_ready(admin, process), f"exit code {process.poll()}\n{_text(log)}"
            key = await make_key(admin)
            await _imports_the_sdk(admin, key)
        return Service(url, ADMIN_KEY, key, process, log)

    def _launch(self, module: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()  # also one that is stopped
        for process in self._processes:
            process.wait()
        check_logs(self._folder)


def clean_environment(**variables: object) -> dict[str, str]:
    """That of this process without what is a developer's own, and with these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return ours | {name: str(value) for name, value in variables.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _becomes_ready(client: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> bool:
    patience = time.monotonic() + _PATIENCE
    while not await _is_ready(client):
        if process.poll() is not None or time.monotonic() > patience:
            return False
        await asyncio.sleep(0.03)
    return True


async def _imports_the_sdk(client: httpx.AsyncClient, key: str) -> None:
    """A busy machine takes seconds for it, which no test should measure. Refused, and the upstream is not asked."""
    body = {"model": "none", "input": "-", "max_tokens": 1, "conversation_id": str(UUID(int=0))}
    await client.post("/v1/completions", json=body, headers={"x-api-key": key}, timeout=_PATIENCE)


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        response = await client.get("/readyz")
    except httpx.TransportError:
        return False
    return response.status_code == 200


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


async def make_key(admin: httpx.AsyncClient, *scopes: str, **fields: Any) -> str:
    """The secret of a new key; completions and conversations if no scopes are named."""
    body = {"name": "test", "scopes": scopes or ("completions", "conversations"), **fields}
    response = await admin.post("/v1/keys", json=body)
    assert response.status_code == 201, response.text
    secret: str = response.json()["secret"]
    return secret
