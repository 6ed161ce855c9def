"""A request of OpenAI's Responses API in the one form that all dialects share."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from app.completions.schemas import MAX_TOKENS, MODEL_NAME
from app.config import Settings
from app.dialects.responses_input import invalid, messages_of
from app.domain.completion import CompletionRequest
from app.domain.errors import InvalidRequest, NotFound
from app.wire.openai_response import JSON_ONLY

_EFFORTS: Final = {name: name for name in ("low", "medium", "high", "xhigh", "max")} | {"minimal": "low"}
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
# The version of the Messages API that has no sampling parameters any more.
_NO_SAMPLING: Final = "2026-10-21"
_SUPPORTED_INCLUDE: Final = "reasoning.encrypted_content"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_NAMED: Final = 30
_PLACE: Final = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


class Conversation(Struct, frozen=True):
    id: str


class Text(Struct, frozen=True):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class Reasoning(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class CreateResponse(Struct, frozen=True):
    """What is understood of a request; anything else is ignored, and named in the answer's `x-ignored-params`."""

    model: Annotated[str, Meta(max_length=200, pattern=MODEL_NAME)]
    input: str | list[Any]
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | Conversation | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    prompt: Any = None
    user: str | None = None
    safety_identifier: str | None = None


def read(body: Mapping[str, Any]) -> CreateResponse:
    """The first level, checked.

    Raises:
        InvalidRequest: `param` names the field at fault.
    """
    for field in ("model", "input"):
        if body.get(field) is None:
            raise InvalidRequest(
                f"Missing required parameter: '{field}'.", code="missing_required_parameter", param=field
            )
    try:
        asked = msgspec.convert(body, CreateResponse)
    except msgspec.ValidationError as exc:
        found = _PLACE.search(str(exc))
        raise invalid(found[1].removesuffix("[...]") if found else "body", _PLACE.sub("", str(exc))) from None
    _check(asked)
    return asked


def _check(asked: CreateResponse) -> None:
    if asked.input == []:
        raise invalid("input", "must not be empty")
    if asked.prompt is not None:
        raise invalid("prompt", "prompt templates are not supported")
    if asked.top_logprobs:
        raise invalid("top_logprobs", "log probabilities are not supported")
    if asked.previous_response_id is not None and asked.conversation is not None:
        raise invalid("previous_response_id", "cannot be used together with `conversation`")
    if asked.background and asked.store is False:
        raise invalid("background", "needs `store: true`, or nobody could ever read the answer")


def completion_request(
    asked: CreateResponse, settings: Settings, *, max_tokens: int
) -> tuple[CompletionRequest, list[str]]:
    """The request, and the names of those of its parameters that could not be heeded. `max_tokens` is the default.

    Raises:
        InvalidRequest: something in it cannot be passed on; `param` names it.
        NotFound: what it names cannot exist.
    """
    ignored = _unheeded(asked)
    body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.max_output_tokens or max_tokens}
    json_only = _answer_form(asked, body)
    if system := _system(asked.instructions, json_only=json_only):
        body["system"] = system
    _tools(asked, body)
    _thinking(asked, body)
    ignored += _sampling(asked, body, settings.upstream_version)
    if user := asked.safety_identifier or asked.user:
        body["metadata"] = {"user_id": hashlib.sha256(user.encode()).hexdigest()}
    request = CompletionRequest(
        body=body,
        messages=messages_of(asked.input),
        conversation_id=_conversation(asked.conversation),
        previous_id=_previous(asked.previous_response_id),
        store=asked.store is not False,
        background=bool(asked.background),
        metadata=asked.metadata or {},
        lift_system=True,
    )
    return request, ignored


def ignored_fields(body: Mapping[str, Any]) -> list[str]:
    """Fields of a request that mean nothing here."""
    known = {field.name for field in msgspec.structs.fields(CreateResponse)}
    return [name for name, value in body.items() if name not in known and value is not None]


def ignored_header(names: list[str]) -> dict[str, str]:
    fit = [name for name in names if _HEADER_NAME.fullmatch(name)]
    return {"x-ignored-params": ", ".join(fit[:_MOST_NAMED])} if fit else {}


def response_uuid(value: str) -> UUID | None:
    """The completion that an id of a response names."""
    try:
        return UUID(value.removeprefix("resp_"))
    except ValueError:
        return None


def _unheeded(asked: CreateResponse) -> list[str]:
    include = [name for name in asked.include or () if name != _SUPPORTED_INCLUDE]
    return (["include"] if include else []) + (["text.verbosity"] if asked.text and asked.text.verbosity else [])


def _previous(value: str | None) -> UUID | None:
    if value is None:
        return None
    id = response_uuid(value)
    if id is None:
        raise NotFound(
            "There is no such previous response.", code="previous_response_not_found", param="previous_response_id"
        )
    return id


def _conversation(value: str | Conversation | None) -> UUID | None:
    if value is None:
        return None
    try:
        return UUID((value.id if isinstance(value, Conversation) else value).removeprefix("conv_"))
    except ValueError:
        raise NotFound("There is no such conversation.", param="conversation") from None


def _system(instructions: str | None, *, json_only: bool) -> str | list[dict[str, Any]] | None:
    if not json_only:
        return instructions
    return [{"type": "text", "text": text} for text in (instructions, JSON_ONLY) if text]


def _answer_form(asked: CreateResponse, body: dict[str, Any]) -> bool:
    """`text.format`; true where it has to be asked for in words."""
    match asked.text.format if asked.text else None:
        case {"type": "json_schema", "schema": dict(schema)}:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        case {"type": "json_schema"}:
            raise invalid("text.format.schema", "expected a JSON Schema")
        case {"type": "json_object"}:
            return True
        case None | {"type": "text"}:
            pass
        case _:
            raise invalid("text.format.type", "expected one of text, json_object and json_schema")
    return False


def _thinking(asked: CreateResponse, body: dict[str, Any]) -> None:
    """Whoever wants a summary of the thoughts wants thoughts; a forced call leaves no room for them."""
    if asked.reasoning is None:
        return
    effort = asked.reasoning.effort
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if effort not in _EFFORTS:
            raise invalid("reasoning.effort", f"expected one of none, {', '.join(_EFFORTS)}")
        body["output_config"] = body.get("output_config", {}) | {"effort": _EFFORTS[effort]}
    shown = asked.reasoning.summary or asked.reasoning.generate_summary
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if shown and effort != "none" and not forced:
        body["thinking"] = {"type": "adaptive"}


def _sampling(asked: CreateResponse, body: dict[str, Any], version: str) -> list[str]:
    """Thinking and newer versions of the upstream allow none; its temperature ends at 1."""
    given = {name: value for name in ("temperature", "top_p") if (value := getattr(asked, name)) is not None}
    if version >= _NO_SAMPLING or body.get("thinking", {}).get("type") == "adaptive":
        return list(given)
    body.update({name: min(value, 1.0) for name, value in given.items()})
    return [name for name, value in given.items() if value > 1]


def _tools(asked: CreateResponse, body: dict[str, Any]) -> None:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools or ())]
    names = [tool["name"] for tool in tools]
    choice = asked.tool_choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = _allowed(choice, names)
        tools = [tool for tool in tools if tool["name"] in allowed]
        choice = choice.get("mode", "auto")
    chosen = _choice(choice, [tool["name"] for tool in tools])
    if not tools:
        return
    body["tools"] = tools
    if asked.parallel_tool_calls is False and chosen.get("type") != "none":
        chosen = {"type": "auto", **chosen, "disable_parallel_tool_use": True}
    if chosen:
        body["tool_choice"] = chosen


def _tool(tool: Any, at: str) -> dict[str, Any]:
    match tool:
        case {"type": "function", "name": str(name)} if name:
            pass
        case {"type": "function"}:
            raise invalid(f"{at}.name", "expected a name")
        case _:
            raise invalid(f"{at}.type", "only functions are supported")
    parameters, description = tool.get("parameters"), tool.get("description")
    if not isinstance(parameters, dict | None):
        raise invalid(f"{at}.parameters", "expected a JSON Schema")
    if not isinstance(description, str | None):
        raise invalid(f"{at}.description", "expected a string")
    return {
        "name": name,
        **({"description": description} if description else {}),
        "input_schema": parameters or {"type": "object", "properties": {}},
        **({"strict": True} if tool.get("strict") is True else {}),
    }


def _allowed(choice: Mapping[str, Any], names: list[str]) -> list[Any]:
    tools = choice.get("tools")
    allowed = [tool.get("name") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    if not allowed or not all(name in names for name in allowed):
        raise invalid("tool_choice.tools", "expected functions that `tools` has")
    return allowed


def _choice(choice: Any, names: list[str]) -> dict[str, Any]:
    match choice:
        case None:
            return {}
        case "required" if not names:
            raise invalid("tool_choice", "there are no tools to choose from")
        case str() if choice in _CHOICES:
            return {"type": _CHOICES[choice]}
        case {"type": "function", "name": str(name)} if name in names:
            return {"type": "tool", "name": name}
        case {"type": "function"}:
            raise invalid("tool_choice.name", "expected a function that `tools` has")
    raise invalid("tool_choice", "expected auto, none, required, a function or allowed_tools")
