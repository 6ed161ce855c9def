"""Reading JSON of which parts stay bytes: what a client wrote is kept, and sent on, as it was written."""

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from fastapi import Request
from msgspec import Raw
from msgspec.json import Decoder

from app.domain.errors import InvalidRequest, Unprocessable

T = TypeVar("T")

_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def body_of(decoder: Decoder[T]) -> Callable[[Request], Awaitable[T]]:
    """A dependency: the request's body, as `decoder` has it."""

    async def body(request: Request) -> T:
        return decode(await request.body(), decoder)

    return body


def decode(data: bytes | Raw, decoder: Decoder[T], *, at: str = "") -> T:
    """`data` decoded; `at` is its place in the body, for the error.

    Raises:
        InvalidRequest: `data` is no JSON.
        Unprocessable: `data` is JSON of another shape.
    """
    try:
        bytes(data).decode()  # the decoder does not look into strings that stay raw
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), at) from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.", code="invalid_json", param=at or None) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_malformed(str(error), bytes(data)), code="invalid_json", param=at or None) from None
    except RecursionError:
        raise InvalidRequest("The JSON is nested too deeply.", code="invalid_json", param=at or None) from None


def _misshapen(message: str, at: str) -> Unprocessable:
    found = _PLACE.search(message)
    inner = found[1].removesuffix("[...]") if found else ""  # some key of a dict
    field = f"{at}.{inner}" if at and inner and not inner.startswith("[") else at + inner
    return Unprocessable(f"{field or 'body'}: {_PLACE.sub('', message)}", param=field or None)


def _malformed(message: str, data: bytes) -> str:
    hint = " A surrogate without its other half is not accepted." if _SURROGATE.search(data) else ""
    return f"This is not valid JSON: {message}.{hint}"
