"""Citations and search results as sources of a UI message."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

# As the AI SDK's own provider names what it keeps of a citation.
_KEPT: Final = {
    "cited_text": "citedText",
    "encrypted_index": "encryptedIndex",
    "start_page_number": "startPageNumber",
    "end_page_number": "endPageNumber",
    "start_char_index": "startCharIndex",
    "end_char_index": "endCharIndex",
    "start_block_index": "startBlockIndex",
    "end_block_index": "endBlockIndex",
}


def source_of(citation: Raw, id: str) -> Iterator[Mapping[str, Any]]:
    """A citation as a source: by its URL if it has one, else as a document."""
    found: Any = msgspec.json.decode(citation)
    if not isinstance(found, dict):
        return
    url = _text(found, "url") or _text(found, "source")
    title = _text(found, "title") or _text(found, "document_title")
    kept = {name: found[key] for key, name in _KEPT.items() if found.get(key) is not None}
    provider = {"providerMetadata": {"anthropic": kept}} if kept else {}
    if url.startswith(("https://", "http://")):
        yield {"type": "source-url", "sourceId": id, "url": url, **({"title": title} if title else {}), **provider}
        return
    media = "application/pdf" if found.get("type") == "page_location" else "text/plain"
    yield {
        "type": "source-document",
        "sourceId": id,
        "mediaType": media,
        "title": title or url or _numbered(found.get("document_index")),
        **provider,
    }


def web_results(content: Raw, next_id: Callable[[], str]) -> Iterator[Mapping[str, Any]]:
    """What a web search found, one source each."""
    results: Any = msgspec.json.decode(content)
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict) and (url := _text(result, "url")):
            title = _text(result, "title")
            age = {"providerMetadata": {"anthropic": {"pageAge": result.get("page_age")}}}
            yield {
                "type": "source-url",
                "sourceId": next_id(),
                "url": url,
                **({"title": title} if title else {}),
                **age,
            }


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


def _numbered(index: Any) -> str:
    return f"Document {index + 1}" if isinstance(index, int) else "Document"
