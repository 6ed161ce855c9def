"""A Chat Completions request: its fields, and what becomes of them as a Messages request.

Fields that mean nothing to Claude are accepted and named in the answer; fields that nobody knows are ignored.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.completions.schemas import MAX_TOKENS, MODEL_NAME
from app.conversations.bodies import decode
from app.dialects.chat_messages import Message, conversation
from app.dialects.chat_options import (
    Effort,
    ResponseFormat,
    effort,
    instruction,
    output_format,
    sampling,
    stop_sequences,
    thinking,
    user_id,
)
from app.dialects.chat_tools import Choice, Tool, tool_choice, tools
from app.domain.completion import NewMessage
from app.domain.errors import InvalidRequest, Unprocessable

Limit = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]

# Accepted, without any effect. `user` and `safety_identifier` have one.
DROPPED: Final = (
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "metadata",
    "modalities",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "seed",
    "service_tier",
    "store",
    "top_logprobs",
    "verbosity",
    "web_search_options",
)


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """The fields that have a meaning here."""

    model: Annotated[str, Meta(min_length=1, max_length=200, pattern=MODEL_NAME)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Limit | None = None
    max_tokens: Limit | None = None
    stop: str | list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: int | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class Mapped(msgspec.Struct, frozen=True):
    """A request as the Messages API has it; `body` is all but the messages. `ignored` names fields without effect."""

    body: dict[str, Any]
    messages: list[NewMessage]
    ignored: list[str]


_MISSING: Final = re.compile(r"missing required field `(\w+)`$")
_DECODER: Final = msgspec.json.Decoder(ChatRequest)


def read(raw: bytes) -> ChatRequest:
    """
    Raises:
        InvalidRequest: a field is missing or has a value that cannot be meant; `param` names it.
    """
    try:
        request = decode(raw, _DECODER)
    except Unprocessable as exc:
        raise InvalidRequest(exc.message, param=_field(exc)) from None
    _refuse(request)
    return request


def _field(error: Unprocessable) -> str | None:
    """The field at fault; of a missing one the decoder names the object that lacks it."""
    missing = _MISSING.search(error.message)
    return error.param if missing is None else ".".join(filter(None, [error.param, missing[1]]))


def _refuse(request: ChatRequest) -> None:
    """What would change the answer's form cannot be ignored."""
    if request.n not in (None, 1):
        raise InvalidRequest("n: Only one choice can be had.", param="n")
    if request.logprobs:
        raise InvalidRequest("logprobs: The upstream tells no probabilities.", param="logprobs")
    if "audio" in (request.modalities or ()):
        raise InvalidRequest("modalities: Answers have no audio.", param="modalities")


def mapped(
    request: ChatRequest, sent: dict[str, Any], *, version: str, max_tokens: int, fetches_urls: bool = True
) -> Mapped:
    """`request` for the upstream.

    Args:
        request: what was read.
        sent: the same body as it came, to tell which fields it has.
        version: the version of the Messages API that will be spoken.
        max_tokens: where the request does not say it.
        fetches_urls: whether the upstream fetches images by their address.

    Raises:
        InvalidRequest: a message cannot be told to the upstream.
    """
    system, messages = conversation(request.messages, fetches_urls=fetches_urls)
    sampled, unsampled = sampling(request.temperature, request.top_p, version)
    optional = {
        "system": "\n".join([*system, *instruction(request.response_format)]),
        "stop_sequences": stop_sequences(request.stop),
        "tools": tools(request.tools),
        "tool_choice": tool_choice(request.tool_choice, request.tools, parallel=request.parallel_tool_calls),
        "metadata": user_id(request.safety_identifier, request.user),
        "thinking": thinking(request.reasoning_effort),
        "output_config": effort(request.reasoning_effort) | output_format(request.response_format),
    }
    body = {
        "model": request.model,
        "max_tokens": request.max_completion_tokens or request.max_tokens or max_tokens,
        **{name: value for name, value in optional.items() if value},
        **sampled,
    }
    ignored = [name for name in DROPPED if sent.get(name) is not None]
    return Mapped(body, messages, sorted([*ignored, *unsampled]))
