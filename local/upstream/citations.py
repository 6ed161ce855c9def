"""Citations of the documents that a request asks to have cited."""

import re
from collections.abc import Iterator
from typing import Any

from local.upstream.prompt import Prompt
from local.upstream.schema import Json

CITED_CHARACTERS = 120


def citations(prompt: Prompt) -> Iterator[Json]:
    """Yield one citation for every document that has citations enabled and something to cite."""
    for index, document in enumerate(prompt.documents):
        if not (document.get("citations") or {}).get("enabled"):
            continue
        if (found := _cite(document.get("source") or {})) is not None:
            yield {**found, "document_index": index, "document_title": document.get("title")}


def _cite(source: Json) -> Json | None:
    match source:
        case {"type": "text", "data": str(data)} if data:
            cited = _first_sentence(data)
            return {"type": "char_location", "cited_text": cited, "start_char_index": 0, "end_char_index": len(cited)}
        case {"type": "content", "content": content} if content:
            cited = _first_block(content)
            return {"type": "content_block_location", "cited_text": cited, "start_block_index": 0, "end_block_index": 1}
        case {"type": "base64"}:
            cited = "(the first page)"
            return {"type": "page_location", "cited_text": cited, "start_page_number": 1, "end_page_number": 2}
        case _:
            return None


def _first_sentence(text: str) -> str:
    found = re.match(r".+?[.!?](?=\s|$)", text, re.DOTALL)
    return (found.group() if found else text)[:CITED_CHARACTERS]


def _first_block(content: Any) -> str:
    return content if isinstance(content, str) else str(content[0].get("text", ""))
