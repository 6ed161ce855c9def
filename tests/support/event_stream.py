"""Messages of AWS's binary event stream (application/vnd.amazon.eventstream), as Bedrock sends them."""

import base64
import binascii
import json
import struct


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Prelude, its checksum, headers, payload, checksum of all; every header is a string (type 7)."""
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 12 + len(head) + len(payload) + 4, len(head))
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + head + payload
    return body + struct.pack("!I", binascii.crc32(body))


def chunk(event: bytes) -> bytes:
    """One event of a Messages stream."""
    payload = json.dumps({"bytes": base64.b64encode(event).decode(), "p": "padding"}).encode()
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return message(headers, payload)


def exception(kind: str) -> bytes:
    """The end of a stream that went wrong."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, b'{"message":"Account 123456789012 has reached its limit."}')
