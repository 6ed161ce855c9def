"""A search of the web, which the API runs by itself in the middle of an answer."""

import base64
import hashlib

import msgspec

from local.upstream import speech
from local.upstream.blocks import Block, ServerToolUse, Text, WebSearchResult, json_pieces
from local.upstream.prompt import QUOTE_CHARACTERS, Prompt
from local.upstream.schema import Json, MessagesRequest

TOOL_TYPE = "web_search_"
TOOL_NAME = "web_search"
ASKED_FOR = frozenset({"web", "internet", "search", "online"})
PAGES = (
    ("https://rivers.example/headwaters", "Headwaters", "Most rivers begin with rain that nobody saw fall."),
    ("https://rivers.example/springs", "Springs and seeps", "A spring is where groundwater comes to light."),
)


def searched(request: MessagesRequest, prompt: Prompt, seed: bytes) -> list[Block]:
    """Return a search, what it found and what is said of it: nothing without the tool, or unless asked for."""
    if not any(str(tool.get("type")).startswith(TOOL_TYPE) for tool in request.tools or []):
        return []
    if not prompt.words & ASKED_FOR:
        return []
    identity = "srvtoolu_" + hashlib.sha256(seed + TOOL_NAME.encode()).hexdigest()[:24]
    query = msgspec.json.encode({"query": prompt.question[:QUOTE_CHARACTERS]}).decode()
    url, title, sentence = PAGES[0]
    citation: Json = {
        "type": "web_search_result_location",
        "url": url,
        "title": title,
        "encrypted_index": _opaque(seed, url),
        "cited_text": sentence,
    }
    return [
        Text(speech.pieces("I will search the web.")),
        ServerToolUse(json_pieces(query), id=identity, name=TOOL_NAME),
        WebSearchResult(tool_use_id=identity, found=[_result(seed, *page) for page in PAGES]),
        Text(speech.pieces(f"{sentence} "), [citation]),
    ]


def _result(seed: bytes, url: str, title: str, content: str) -> Json:
    return {
        "type": "web_search_result",
        "url": url,
        "title": title,
        "encrypted_content": _opaque(seed, content),
        "page_age": None,
    }


def _opaque(seed: bytes, text: str) -> str:
    """Return what only the API could read."""
    return base64.b64encode(hashlib.sha512(seed + text.encode()).digest()).decode()
