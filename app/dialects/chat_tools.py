"""Tools of a Chat Completions request as tools of a Messages request."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.domain.errors import InvalidRequest


class Function(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    function: Function
    type: Literal["function"] = "function"


class FunctionName(msgspec.Struct, frozen=True):
    name: str


class NamedChoice(msgspec.Struct, frozen=True):
    function: FunctionName
    type: Literal["function"] = "function"


Choice = Literal["auto", "none", "required"] | NamedChoice


def tools(wanted: list[Tool] | None) -> list[dict[str, Any]]:
    return [_tool(tool.function) for tool in wanted or ()]


def _tool(function: Function) -> dict[str, Any]:
    told: dict[str, Any] = {"name": function.name}
    if function.description:
        told["description"] = function.description
    told["input_schema"] = {"type": "object", **(function.parameters or {})}
    if function.strict:
        told["strict"] = True
    return told


def tool_choice(choice: Choice | None, wanted: list[Tool] | None, *, parallel: bool | None) -> dict[str, Any] | None:
    """
    Raises:
        InvalidRequest: it demands a tool, and there is none of that name.
    """
    names = [tool.function.name for tool in wanted or ()]
    told = _told(choice)
    if told["type"] == "any" and not names:
        raise InvalidRequest("tool_choice: There are no tools to choose from.", param="tool_choice")
    if told["type"] == "tool" and told["name"] not in names:
        raise InvalidRequest("tool_choice: There is no tool of this name.", param="tool_choice.function.name")
    if parallel is False and told["type"] != "none":
        return {**told, "disable_parallel_tool_use": True} if names else None
    return told if names and choice is not None else None


def _told(choice: Choice | None) -> dict[str, Any]:
    match choice:
        case NamedChoice(function=function):
            return {"type": "tool", "name": function.name}
        case "required":
            return {"type": "any"}
        case "none":
            return {"type": "none"}
    return {"type": "auto"}
