"""Which tools the simulated model calls, and with what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from local.upstream.example import example
from local.upstream.prompt import QUOTE_CHARACTERS, Prompt
from local.upstream.schema import Json, MessagesRequest

SEVERAL = frozenset({"both", "each", "parallel", "several"})
# Words of tool names that say nothing about what a question is after.
COMMON = frozenset({"a", "do", "fetch", "find", "for", "get", "in", "my", "of", "run", "set", "the", "to", "tool"})


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a tool."""

    name: str
    input: Json


def calls(request: MessagesRequest, prompt: Prompt) -> list[Call]:
    """Return the calls to make: none unless the prompt or `tool_choice` asks for a tool, and none after a result."""
    usable = [tool for tool in request.tools or [] if isinstance(tool.get("input_schema"), dict)]
    choice = request.tool_choice or {"type": "auto"}
    chosen = [] if prompt.tool_results else _chosen(usable, choice, prompt)
    if chosen and prompt.words & SEVERAL and not choice.get("disable_parallel_tool_use"):
        chosen = chosen if len(chosen) > 1 else chosen * 2
    else:
        chosen = chosen[:1]
    subjects = _subjects(prompt)
    return [_call(tool, subjects[nth % len(subjects)]) for nth, tool in enumerate(chosen)]


def _chosen(usable: list[Json], choice: Json, prompt: Prompt) -> list[Json]:
    match choice:
        case {"type": "none"}:
            return []
        case {"type": "tool", "name": name}:
            return [tool for tool in usable if tool["name"] == name]
        case {"type": "any"}:
            return _asked_for(usable, prompt) or usable[:1]
        case _:
            return _asked_for(usable, prompt)


def _asked_for(usable: list[Json], prompt: Prompt) -> list[Json]:
    named = [tool for tool in usable if _name_words(tool["name"]) & prompt.words]
    return named or (usable if prompt.words & {"tool", "tools"} else [])


def _name_words(name: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+|[A-Z][a-z]*", name)
    return frozenset(word.lower() for word in words) - COMMON


def _subjects(prompt: Prompt) -> Sequence[str]:
    """Return what the question seems to be about: its names, else all of it."""
    names = re.findall(r"(?<=[^.!?]\s)[A-Z]\w+", prompt.question)
    return names or [prompt.question[:QUOTE_CHARACTERS]]


def _call(tool: Json, subject: str) -> Call:
    value = example(tool["input_schema"], subject)
    return Call(tool["name"], value if isinstance(value, dict) else {})
