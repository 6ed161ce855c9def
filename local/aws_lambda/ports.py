"""Ports for applications. On Lambda each has a network of its own; here it takes one a while to listen on its port.

Until then nobody else may get it, so these lie below those that the system gives to whoever asks for any.
"""

import errno
import itertools
import os
import socket
from typing import Final

_FIRST: Final = 20_000
_COUNT: Final = 10_000

# Programs beside each other begin at different places.
_numbers = itertools.count(os.getpid() * 100)


def port_for_application() -> int:
    """One that nobody listens on, and that no other environment was given.

    Raises:
        OSError: there is none.
    """
    for number in itertools.islice(_numbers, _COUNT):
        port = _FIRST + number % _COUNT
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED:
                return port
    raise OSError(errno.EADDRNOTAVAIL, "no port is free for an application")
