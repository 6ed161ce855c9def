"""The servers that are measured, each a process of its own behind HTTP."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil

from bench.database import database
from local.addresses import free_port

HOST: Final = "127.0.0.1"
MODEL: Final = "claude-haiku-4-5"
_ADMIN: Final = "hw_admin_of_the_benchmark"
_PATIENCE: Final = 30.0
# Limits that are counted and never reached.
_LIMITS: Final = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": 2_000_000_000,
    "open_streams": 100_000,
    "monthly_budget": "100000000",
}
_NGINX: Final = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 100; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://up; proxy_http_version 1.1; proxy_set_header connection "";
            proxy_buffering off; proxy_read_timeout 300;
        }}
    }}
}}
"""


class Running:
    """A server that is up. `beside` are processes that work for it and are reported apart: the database."""

    def __init__(
        self,
        port: int,
        pid: int,
        headers: Mapping[str, str] | None = None,
        beside: int | None = None,
        database_url: str | None = None,
    ) -> None:
        self.port = port
        self.headers = headers or {}
        self.database_url = database_url
        self._process = psutil.Process(pid)
        self._beside = psutil.Process(beside) if beside else None

    def cpu(self) -> float:
        """Seconds of its process tree so far."""
        return _cpu(self._process)

    def cpu_beside(self) -> float:
        return _cpu(self._beside) if self._beside else 0.0

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def memory(self) -> int:
        """Bytes resident in its process tree."""
        return sum(each.memory_info().rss for each in _tree(self._process))

    def files(self) -> int:
        """Open files and sockets."""
        return sum(each.num_fds() for each in _tree(self._process))


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    """Of those that have ended too, whose time is told in hundredths of a second."""
    tree = _tree(process)
    ended = [times.children_user + times.children_system for times in (each.cpu_times() for each in tree)]
    return sum(own_cpu(each) for each in tree) + sum(ended)


def own_cpu(process: psutil.Process) -> float:
    """Seconds that a process has worked. Linux tells them to the nanosecond, by a clock of each process.

    The clock's number is made as `include/linux/posix-timers.h` says; elsewhere they are hundredths.
    """
    if platform.system() == "Linux":
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started on an upstream's port and asked for a stream: a path and a body for a prompt.

    `afterwards` is how many seconds after a load it still works for it.
    """

    name: str
    start: Callable[[int], AbstractContextManager[Running]]
    path: str = "/v1/completions"
    body: Callable[[str], dict[str, Any]] = lambda prompt: {"model": MODEL, "input": prompt, "max_tokens": 4096}
    afterwards: float = 0.0

    def request(self, running: Running, prompt: str) -> str:
        """The bytes of a whole request."""
        body = msgspec.json.encode(self.body(prompt)).decode()
        headers = {"host": "bench", "content-type": "application/json", "content-length": len(body), **running.headers}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", body]
        return "\r\n".join(lines)


def _messages(prompt: str) -> dict[str, Any]:
    """The form of Anthropic's API, for what passes requests on as they are."""
    return {
        "model": MODEL,
        "max_tokens": 4096,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }


@contextmanager
def python(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with started([sys.executable, "-m", module, *arguments], environment) as process:
        yield process


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, path: str | None = None) -> None:
    """Until something listens there, or answers well at `path`."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200:
                return
        except (OSError, httpx.TransportError):
            pass
        time.sleep(0.01)
    raise TimeoutError(f"nothing answered on port {port}")


def _sdk(upstream: int) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{upstream}", "ANTHROPIC_API_KEY": "the-upstreams-own-key"}


def headwater_environment(database_url: str, port: int, upstream: int) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "HEADWATER_PORT": str(port),
        "HEADWATER_ADMIN_KEY": _ADMIN,
        **_sdk(upstream),
    }


@contextmanager
def headwater(
    upstream: int, variables: Mapping[str, str] | None = None, command: Sequence[str] = ("app",)
) -> Iterator[Running]:
    """With all that it does in production: keys, limits, a budget, the durable log, the ledger."""
    with ExitStack() as stack:
        store = stack.enter_context(database())
        port = free_port(HOST)
        environment = headwater_environment(store.url, port, upstream) | dict(variables or {})
        process = stack.enter_context(python(*command, environment=environment))
        wait_for(port, "/readyz")
        yield Running(port, process.pid, {"authorization": f"Bearer {make_key(port)}"}, store.pid, store.url)


def make_key(port: int) -> str:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": _ADMIN}) as admin:
        made = admin.post("/v1/keys", json={"name": "bench", "scopes": ["completions"], "limits": _LIMITS})
        made.raise_for_status()
        secret: str = made.json()["secret"]
        return secret


@contextmanager
def _naive(upstream: int) -> Iterator[Running]:
    port = free_port(HOST)
    with python("bench.naive", str(port), environment=_sdk(upstream)) as process:
        wait_for(port, "/livez")
        yield Running(port, process.pid)


@contextmanager
def _nginx(upstream: int) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hw-bench-nginx-") as folder:
        Path(folder).chmod(0o755)  # its worker is another user
        port = free_port(HOST)
        settings = Path(folder) / "nginx.conf"
        settings.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
        with started([nginx_program() or "nginx", "-c", str(settings)]) as process:
            wait_for(port)
            yield Running(port, process.pid)


@contextmanager
def _upstream_itself(upstream: int) -> Iterator[Running]:
    yield Running(upstream, os.getpid())


def nginx_program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def peer(name: str, command: str) -> Server:
    """Any other server: `command` is started with `PORT` and `UPSTREAM` (a URL) in its environment, and asked in the
    form of Anthropic's API.
    """

    @contextmanager
    def start(upstream: int) -> Iterator[Running]:
        port = free_port(HOST)
        environment = {"PORT": str(port), "UPSTREAM": f"http://127.0.0.1:{upstream}", **_sdk(upstream)}
        with started(["/bin/sh", "-c", f"exec {command}"], environment) as process:
            wait_for(port)
            yield Running(port, process.pid, {"x-api-key": "any", "anthropic-version": "2023-06-01"})

    return Server(name, start, "/v1/messages", _messages)


SERVERS: Final = (
    Server("headwater", headwater),
    Server("headwater (Messages)", headwater, "/v1/messages", _messages),
    Server("naive", _naive),
    Server("nginx", _nginx, "/v1/messages", _messages),
    Server("upstream itself", _upstream_itself, "/v1/messages", _messages),
)
