"""Ports and URLs of this machine."""

import errno
import socket
from urllib.parse import urlsplit

from local.errors import LaunchError, because


def free_port(host: str, wanted: int = 0) -> int:
    """`wanted`, or any free one for 0.

    Raises:
        LaunchError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # As the server itself does: connections that a former one closed do not count.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, wanted))
        except OSError as error:
            raise LaunchError(_refusal(error, host, wanted)) from error
        return int(sock.getsockname()[1])


def _refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use: set HEADWATER_PORT to another one."
    return f"Headwater cannot listen on {host}, port {port}: {because(error)}."


def url_of(host: str, port: int) -> str:
    """What a client on this machine types; the addresses that mean "all" are none to connect to."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def answers(url: str) -> bool:
    """Whether something listens there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1).close()
    except OSError:
        return False
    return True
