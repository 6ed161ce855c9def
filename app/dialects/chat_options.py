"""Options of a Chat Completions request as fields of a Messages request."""

import hashlib
from typing import Any, Final, Literal

import msgspec

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

# The last version of the Messages API that takes `temperature` and `top_p`.
_SAMPLING_VERSION: Final = "2023-06-01"
_JSON_ONLY: Final = "Answer with one JSON object and nothing else: no prose around it, no code fence."


class Text(msgspec.Struct, frozen=True, tag="text"):
    pass


class JsonObject(msgspec.Struct, frozen=True, tag="json_object"):
    pass


class Schema(msgspec.Struct, frozen=True):
    schema: dict[str, Any]


class JsonSchema(msgspec.Struct, frozen=True, tag="json_schema"):
    json_schema: Schema


ResponseFormat = Text | JsonObject | JsonSchema


def output_format(response_format: ResponseFormat | None) -> dict[str, Any]:
    """The answer's schema, as the upstream enforces it."""
    if isinstance(response_format, JsonSchema):
        return {"format": {"type": "json_schema", "schema": response_format.json_schema.schema}}
    return {}


def instruction(response_format: ResponseFormat | None) -> list[str]:
    """What the model has to be told about the answer's form: the upstream has no JSON without a schema."""
    return [_JSON_ONLY] if isinstance(response_format, JsonObject) else []


def effort(wanted: Effort | None) -> dict[str, Any]:
    if wanted is None or wanted == "none":
        return {}
    return {"effort": "low" if wanted == "minimal" else wanted}


def thinking(wanted: Effort | None) -> dict[str, Any] | None:
    return {"type": "disabled"} if wanted == "none" else None


def sampling(temperature: float | None, top_p: float | None, version: str) -> tuple[dict[str, Any], list[str]]:
    """The fields that this version takes, and the names of those that it does not. Claude's temperatures end at 1."""
    asked = {"temperature": temperature, "top_p": top_p}
    given = {name: min(value, 1.0) for name, value in asked.items() if value is not None}
    return (given, []) if version == _SAMPLING_VERSION else ({}, list(given))


def stop_sequences(stop: str | list[str] | None) -> list[str]:
    """The upstream refuses sequences of nothing but white space."""
    wanted = [stop] if isinstance(stop, str) else stop or []
    return [sequence for sequence in wanted if sequence.strip()]


def user_id(*names: str | None) -> dict[str, str] | None:
    """Who asks, by the first name there is, and so that the upstream cannot read it."""
    name = next(filter(None, names), None)
    return {"user_id": hashlib.sha256(name.encode()).hexdigest()} if name is not None else None
