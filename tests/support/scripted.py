"""Starts scripted_target.py in a process of its own."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from local.addresses import free_port
from tests.support.service import ROOT


@contextmanager
def scripted(script: dict[str, Any]) -> Iterator[str]:
    port = free_port("127.0.0.1")
    command = [sys.executable, "tests/support/scripted_target.py", str(port), json.dumps(script)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            wait_for(port)
            yield f"{'https' if 'certificate' in script else 'http'}://localhost:{port}"
        finally:
            process.kill()


def wait_for(port: int) -> None:
    for _ in range(400):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise TimeoutError(port)
