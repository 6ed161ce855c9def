"""Where a target is, and as whom it is asked."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class AddressError(ValueError):
    """It names no target."""


@dataclass(frozen=True, slots=True)
class Address:
    """`name` is the caller's own; `prefix` goes before every path, as a stage of API Gateway does.

    The key is in no representation: what is printed or kept of an address has none.
    """

    name: str
    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    key: str | None = field(repr=False)

    @property
    def url(self) -> str:
        scheme, usual = ("https", 443) if self.tls else ("http", 80)
        port = "" if self.port == usual else f":{self.port}"
        return f"{scheme}://{self._host_in_url}{port}{self.prefix}"

    @property
    def _host_in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
        """The bytes of a whole request of HTTP/1.1."""
        fields = {
            "host": self.url.split("//", 1)[1].removesuffix(self.prefix),
            "accept": "text/event-stream",
            "user-agent": "headwater-compare",
            **({"authorization": f"Bearer {self.key}"} if self.key else {}),
            **({"content-type": "application/json", "content-length": str(len(body))} if body else {}),
            **headers,
        }
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def parse(named: str, key: str | None) -> Address:
    """`named` is NAME=URL.

    Raises:
        AddressError: it is not; or the URL has a user, a query or no host; or the key is none that fits in a header.
    """
    name, found, url = named.partition("=")
    parts = urlsplit(url)
    if not (name and found) or parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressError(f"{name or named!r}: say NAME=http(s)://HOST.")
    if parts.username or parts.query or parts.fragment:
        raise AddressError(f"{name}: the address may have a path, and no user, query or fragment.")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise AddressError(f"{name}: its key has characters that no header can have.")
    try:
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{name}: {error}.") from None
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    return Address(name, parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"), tls, key)
