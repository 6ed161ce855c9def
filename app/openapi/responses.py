"""OpenAI's Responses API."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from app.completions import refusals
from app.dialects import responses, responses_request
from app.domain.errors import Gone, InvalidRequest, NotFound
from app.openapi import errors, response_items
from app.openapi.headers import COMPLETION
from app.openapi.operation import Answer, Body, Operation, Subject


class Text(responses_request.Text, frozen=True, kw_only=True):
    format: Annotated[Any, Meta(extra_json_schema=response_items.FORMAT)] = None


class Reasoning(responses_request.Reasoning, frozen=True, kw_only=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class CreateResponse(responses_request.CreateResponse, frozen=True, kw_only=True):
    """Fields that mean nothing here are ignored, and named in the answer's `x-ignored-params`."""

    input: Annotated[Any, Meta(extra_json_schema=response_items.INPUT)]
    tools: Annotated[Any, Meta(extra_json_schema=response_items.TOOLS)] = None
    tool_choice: Annotated[Any, Meta(extra_json_schema=response_items.TOOL_CHOICE)] = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    prompt: None = None


class MessageItem(Struct, tag_field="type", tag="message"):
    """`content` holds `output_text` and `refusal` parts."""

    id: str
    status: str
    role: Literal["assistant"]
    content: list[dict[str, Any]]


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    id: str
    status: str
    summary: list[dict[str, Any]]
    encrypted_content: str | None


class FunctionCallItem(Struct, tag_field="type", tag="function_call"):
    id: str
    status: str
    call_id: str
    name: str
    arguments: str


class TokenDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokenDetails(Struct):
    reasoning_tokens: int


class Usage(Struct):
    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int
    output_tokens_details: OutputTokenDetails
    total_tokens: int


class ConversationReference(Struct):
    id: str


class Response(Struct):
    """A response. Those of other dialects say what fits of their requests."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, str] | None
    model: str
    output: list[MessageItem | ReasoningItem | FunctionCallItem]
    usage: Usage | None
    previous_response_id: str | None
    conversation: ConversationReference | None
    metadata: dict[str, Any]
    store: bool
    instructions: str | None
    max_output_tokens: int | None
    parallel_tool_calls: bool
    reasoning: dict[str, str | None]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float | None
    max_tool_calls: None
    service_tier: Literal["default"]
    top_logprobs: Literal[0]
    truncation: Literal["disabled"]
    user: None


class DeletedResponse(Struct):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(Struct):
    """The items are of the kinds that a request has."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


_STREAM: Final = (
    "The events of the Responses API, numbered by `sequence_number`, from `response.created` to `response.completed`, "
    "`response.incomplete` or `response.failed`. `id` is the position of the event of the log that made the frame."
)
_NOT_STORED: Final = NotFound("This response was not stored (`store: false`).", code="response_not_stored", param="id")

SUBJECT: Final = Subject(
    prefix="Responses",
    operations={
        "create_response": Operation(
            endpoint=responses.create,
            takes=Body(
                types=[CreateResponse],
                examples={
                    "streaming": {"model": "claude-sim", "input": "Say hello.", "max_output_tokens": 5, "stream": True},
                    "whole": {"model": "claude-sim", "input": "Say hello.", "max_output_tokens": 5},
                    "background": {"model": "claude-sim", "input": "Say hello.", "background": True},
                    "chained": {
                        "model": "claude-sim",
                        "input": [{"role": "user", "content": "And then?"}],
                        "previous_response_id": "resp_01980000000070008000000000000000",
                    },
                },
            ),
            answers=[
                Answer(
                    description="The response; with `stream: true` its events, with `background: true` still queued.",
                    json=Response,
                    stream=_STREAM,
                    headers=[*COMPLETION, "x-ignored-params"],
                )
            ],
            errors=[
                InvalidRequest(
                    "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
                ),
                *filter(None, map(refusals.previous, ("previous_not_stored", "no_previous", "previous_running"))),
                errors.BUSY,
                *errors.LIMITS,
                *errors.UPSTREAM,
                *errors.ENDED,
            ],
        ),
        "get_response": Operation(
            endpoint=responses.retrieve,
            answers=[
                Answer(description="The response, or its stream with `stream=true`.", json=Response, stream=_STREAM),
                Answer(status=204, description="`Last-Event-ID` is that of the last event: there is no more."),
            ],
            errors=[
                InvalidRequest("The position must be a number of the stream.", code="invalid_position"),
                errors.NO_RESPONSE,
                _NOT_STORED,
                Gone("The stream of this completion is not kept any more.", code="stream_gone"),
            ],
        ),
        "cancel_response": Operation(
            endpoint=responses.cancel,
            answers=[Answer(description="The response as it is now.", json=Response)],
            errors=[errors.NO_RESPONSE, _NOT_STORED],
        ),
        "delete_response": Operation(
            endpoint=responses.delete,
            answers=[Answer(description="It is deleted.", json=DeletedResponse)],
            errors=[errors.NO_RESPONSE, _NOT_STORED, errors.RUNNING],
        ),
        "list_input_items": Operation(
            endpoint=responses.list_input_items,
            answers=[Answer(description="A page of items.", json=InputItemList)],
            errors=[
                errors.NO_RESPONSE,
                _NOT_STORED,
                InvalidRequest("Invalid 'after': there is no such item.", code="invalid_value", param="after"),
            ],
        ),
    },
)
