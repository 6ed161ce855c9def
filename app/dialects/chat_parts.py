"""Parts of a Chat Completions message as content blocks."""

from typing import Any, Final, assert_never

import msgspec

from app.domain.errors import InvalidRequest

_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
_PDF: Final = "application/pdf"


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    text: str


class RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    refusal: str


class ImageUrl(msgspec.Struct, frozen=True):
    url: str


class ImagePart(msgspec.Struct, frozen=True, tag="image_url"):
    image_url: ImageUrl


class AudioPart(msgspec.Struct, frozen=True, tag="input_audio"):
    pass


class File(msgspec.Struct, frozen=True):
    file_data: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, frozen=True, tag="file"):
    file: File


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


def texts(content: str | list[TextPart]) -> list[str]:
    """The texts in `content` that say something."""
    wanted = [content] if isinstance(content, str) else [part.text for part in content]
    return [text for text in wanted if text.strip()]


def block(part: Part, at: str, *, fetches_urls: bool) -> dict[str, Any] | None:
    """`part`, which stands at the place `at` of the request; None for an empty text.

    Raises:
        InvalidRequest: the upstream has nothing like it.
    """
    match part:
        case TextPart(text=text) | RefusalPart(refusal=text):
            return {"type": "text", "text": text} if text.strip() else None
        case ImagePart(image_url=image_url):
            return {"type": "image", "source": _image(image_url.url, f"{at}.image_url.url", fetches_urls=fetches_urls)}
        case FilePart(file=file):
            return _document(file, f"{at}.file")
        case AudioPart():
            raise _invalid(f"{at}.type", "Audio is not taken.")
    assert_never(part)


def _image(url: str, at: str, *, fetches_urls: bool) -> dict[str, str]:
    if url[:5].lower() == "data:":
        media_type, data = _data_url(url, at)
        media_type = "image/jpeg" if media_type == "image/jpg" else media_type
        if media_type not in _IMAGES:
            raise _invalid(at, f"Images are taken as {', '.join(_IMAGES)}.")
        return {"type": "base64", "media_type": media_type, "data": data}
    if url[:8].lower() != "https://":
        raise _invalid(at, "An image is a data: URL or an https: URL.")
    if not fetches_urls:
        raise _invalid(at, "This upstream fetches no images: send a data: URL.")
    return {"type": "url", "url": url}


def _document(file: File, at: str) -> dict[str, Any]:
    if file.file_data is None:
        raise _invalid(f"{at}.file_data", "A file has to come with the request.")
    media_type, data = _data_url(file.file_data, f"{at}.file_data")
    if media_type != _PDF:
        raise _invalid(f"{at}.file_data", "Files are taken as PDF.")
    source = {"type": "base64", "media_type": _PDF, "data": data}
    return {"type": "document", "source": source, **({"title": file.filename} if file.filename else {})}


def _data_url(url: str, at: str) -> tuple[str, str]:
    """The media type and the base64 of a data: URL (RFC 2397)."""
    head, _, data = url.partition(",")
    scheme, _, described = head.partition(":")
    media_type, *parameters = described.lower().split(";")
    if scheme.lower() != "data" or "base64" not in parameters or not data:
        raise _invalid(at, "This is no data: URL in base64.")
    return media_type.strip(), data


def _invalid(at: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{at}: {message}", param=at)
