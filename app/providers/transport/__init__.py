"""HTTP/1.1 to the upstream: httptools' parser behind httpx2's transport interface, which is where the SDK lets one in.

Why not a library's: docs/adr/0010. What is different is that the body is handed on as the socket brought it, without
a generator or a task in between.
"""

from app.providers.transport.connection import Connection
from app.providers.transport.pool import Pool
from app.providers.transport.transport import MAY_SEND, READER, DirectTransport

__all__ = ["MAY_SEND", "READER", "Connection", "DirectTransport", "Pool"]
