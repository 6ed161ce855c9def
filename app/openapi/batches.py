"""Batches of completions."""

from typing import Any, Final, Literal

from msgspec import Struct

from app.batches import endpoints
from app.batches.schemas import BatchOut, BatchPage, NewBatch
from app.batches.service import no_batch
from app.batches.workflow import no_workflow
from app.domain.errors import Conflict, InvalidRequest, PermissionDenied, Unprocessable
from app.openapi import errors
from app.openapi.completions import CompletionError, CompletionSummary
from app.openapi.operation import Answer, Body, Operation, Subject


class ItemCompletion(CompletionSummary):
    """An item's completion, without its request."""

    text: str | None
    content: list[dict[str, Any]] | None


class ItemResult(Struct):
    """One line of the results. `completion` is null where none had begun, or it was deleted since."""

    custom_id: str
    status: Literal["succeeded", "failed", "cancelled"]
    completion: ItemCompletion | None
    error: CompletionError | None


_NO_BATCH: Final = no_batch()
_STREAM: Final = (
    "`batch` events have the batch's `status`, its `reason`, its `round` and how many `items` have which status; "
    "`item` events an item's `position`, `custom_id`, `status`, `completion_id` and `error`. `id` is the position to "
    "read on from. Each change comes once, in order. One that ends before the batch does is read on."
)
_RUNNING: Final = Conflict("The batch has not ended: wait, or cancel it.", code="batch_running")
_NOT_AWAITING: Final = Conflict("The batch does not wait for approval.", code="not_awaiting_approval")
_TWO: Final = [
    {"custom_id": "greeting", "request": {"model": "claude-sim", "input": "Say hello.", "max_tokens": 5}},
    {"custom_id": "farewell", "request": {"model": "claude-sim", "input": "Say goodbye.", "max_tokens": 5}},
]
_MESSAGES: Final = [{"role": "user", "content": "Say hello."}]
_CHAT: Final = {"model": "claude-sim", "max_completion_tokens": 5, "messages": _MESSAGES}


def _changes(endpoint: Any, what: str, *against: Conflict | PermissionDenied) -> Operation:
    answer = Answer(description=what, json=BatchOut)
    return Operation(endpoint=endpoint, answers=[answer], errors=[_NO_BATCH, *against])


SUBJECT: Final = Subject(
    operations={
        "create_batch": Operation(
            endpoint=endpoints.create,
            takes=Body(
                types=[NewBatch],
                examples={
                    "native": {"items": _TWO, "parallelism": 2, "metadata": {"report": "2026-01"}},
                    "approved by somebody": {"items": _TWO, "approval": "before_release", "on_failure": "stop"},
                    "Anthropic": {
                        "requests": [
                            {
                                "custom_id": "greeting",
                                "params": {"model": "claude-sim", "max_tokens": 5, "messages": _MESSAGES},
                            }
                        ]
                    },
                    "OpenAI": {
                        "items": [
                            {"custom_id": "greeting", "method": "POST", "url": "/v1/chat/completions", "body": _CHAT}
                        ]
                    },
                },
            ),
            answers=[
                Answer(
                    status=201,
                    description="The batch, which has been queued.",
                    json=BatchOut,
                    headers=("location", "idempotent-replayed"),
                )
            ],
            errors=[
                Unprocessable("items[1]: model: Field required", param="items[1]"),
                PermissionDenied(
                    "items[1]: This key may not use `speed`.", code="not_allowed_for_key", param="items[1]"
                ),
                *errors.REPEATED,
                no_workflow(),
            ],
        ),
        "list_batches": Operation(
            endpoint=endpoints.list_batches,
            answers=[Answer(description="A page of batches.", json=BatchPage)],
            errors=[errors.BAD_CURSOR, errors.INVALID],
        ),
        "get_batch": _changes(endpoints.read, "The batch."),
        "list_batch_results": Operation(
            endpoint=endpoints.results,
            answers=[Answer(description="A line an item.", lines=ItemResult)],
            errors=[
                _NO_BATCH,
                _RUNNING,
                Conflict("The results of this batch were not approved.", code="not_approved"),
                errors.INVALID,
            ],
        ),
        "stream_batch": Operation(
            endpoint=endpoints.stream,
            answers=[
                Answer(description="All changes past the position.", stream=_STREAM),
                Answer(status=204, description="The batch has ended, and the position is that of its end."),
            ],
            errors=[
                InvalidRequest("The position must be a number of the stream.", code="invalid_position"),
                InvalidRequest("The position lies beyond the end of the stream.", code="position_beyond_end"),
                _NO_BATCH,
            ],
        ),
        "cancel_batch": _changes(endpoints.cancel, "The batch as it is now."),
        "retry_batch": Operation(
            endpoint=endpoints.retry,
            answers=[Answer(description="The batch in its next round.", json=BatchOut)],
            errors=[
                _NO_BATCH,
                _RUNNING,
                Conflict("The batch has nothing to try again.", code="nothing_to_retry"),
                no_workflow(),
            ],
        ),
        "resume_batch": Operation(
            endpoint=endpoints.resume,
            answers=[Answer(description="The batch, which is queued.", json=BatchOut)],
            errors=[_NO_BATCH, Conflict("The batch is not paused.", code="not_paused"), no_workflow()],
        ),
        "approve_batch": _changes(endpoints.approve, "The batch, whose results can be read.", _NOT_AWAITING),
        "reject_batch": _changes(endpoints.reject, "The batch, whose results are never read.", _NOT_AWAITING),
    }
)
