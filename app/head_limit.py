"""The limit of what a request may have before its body: its target and its headers."""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES: Final = 65_536
MAX_HEADERS: Final = 100
# Closed with bytes unread, a connection takes back what was last written to it: so long they are read and dropped.
_LINGER: Final = 2.0
_MESSAGE: Final = b"The request's headers are too large.\n"
_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_MESSAGE), _MESSAGE)
)


class _TooLarge(Exception):
    pass


class HeadLimit(HttpToolsProtocol):
    """uvicorn's protocol, which itself keeps any number of headers, however long: 431, and the connection is closed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._size = 0
        self._count = 0
        # Of a header that has not come to its end, or anything else that the parser keeps to itself.
        self._unparsed = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_BYTES and not self._refused:
            self._refuse()

    def on_message_begin(self) -> None:
        self._size = self._count = self._unparsed = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._add(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def _add(self, size: int) -> None:
        self._size += size
        self._unparsed = 0
        if self._size > MAX_BYTES or self._count > MAX_HEADERS:
            raise _TooLarge  # the parser stops, and says that the request is invalid

    def send_400_response(self, msg: str) -> None:
        if self._size > MAX_BYTES or self._count > MAX_HEADERS:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self._refused = True
        if not getattr(self.cycle, "response_complete", True):  # there is none before the first request
            self.transport.close()  # an earlier request's answer is on its way, and not to be mixed up with ours
            return
        self.transport.write(_ANSWER)
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)
