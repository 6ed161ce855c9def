"""What a request of OpenAI's Responses API may hold in its lists, which the dialect reads by hand."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

NonEmpty = Annotated[str, Field(min_length=1)]


class InputMessage(BaseModel):
    """`content` is a string or parts: `input_text`, `input_image`, `input_file`, `output_text`, `refusal`."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class FunctionCall(BaseModel):
    """`arguments` is a JSON object as a string."""

    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    arguments: str


class FunctionCallOutput(BaseModel):
    type: Literal["function_call_output"]
    call_id: NonEmpty
    output: str | list[dict[str, Any]]


class Reasoning(BaseModel):
    """A thought as an answer gave it; one without `encrypted_content` is left out."""

    type: Literal["reasoning"]
    encrypted_content: str | None = None
    summary: list[Any] | None = None


class ItemReference(BaseModel):
    """Stands for an item of an earlier answer."""

    type: Literal["item_reference"]
    id: str


class FunctionTool(BaseModel):
    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Annotated[Any, Field(description="Only `true` has an effect.")] = None


class FunctionChoice(BaseModel):
    """One of `tools`."""

    type: Literal["function"]
    name: str


class AllowedTools(BaseModel):
    """Those of `tools` that may be used."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[dict[str, Any]], Field(min_length=1)]


class TextFormat(BaseModel):
    type: Literal["text", "json_object"]


class SchemaFormat(BaseModel):
    type: Literal["json_schema"]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


def _any_of(*models: type[BaseModel]) -> list[dict[str, Any]]:
    return [model.model_json_schema() for model in models]


_ITEMS: Final = _any_of(InputMessage, FunctionCall, FunctionCallOutput, Reasoning, ItemReference)
INPUT: Final = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"anyOf": _ITEMS}}]
}
TOOLS: Final = {"anyOf": [{"type": "array", "items": FunctionTool.model_json_schema()}, {"type": "null"}]}
TOOL_CHOICE: Final = {"anyOf": [{"enum": ["auto", "none", "required", None]}, *_any_of(FunctionChoice, AllowedTools)]}
FORMAT: Final = {"anyOf": [*_any_of(TextFormat, SchemaFormat), {"type": "null"}]}
