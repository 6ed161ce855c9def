"""What the endpoints for batches take and answer."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.batches.repository import Batch

# The engine's list of positions, under 60 kB, fits well into the 256 KiB that it hands from step to step.
MAX_ITEMS: Final = 10_000
MAX_PARALLELISM: Final = 1000

_OBJECT: Final = Meta(extra_json_schema={"type": "object"})
CustomId = Annotated[
    str, Meta(pattern=r"^[ -~]{1,64}$", description="Your own id of the item, unique within the batch.")
]


class NewItem(Struct, forbid_unknown_fields=True):
    """A completion request with a name: `request` in the native form, or `params` or `body` in another API's.

    `params` is an item of Anthropic's Message Batches. `method`, `url` and `body` are a line of OpenAI's Batch API, of
    `/v1/chat/completions`.
    """

    custom_id: CustomId
    request: Annotated[Raw, _OBJECT] | UnsetType = UNSET
    params: Annotated[Raw, _OBJECT] | UnsetType = UNSET
    body: Annotated[Raw, _OBJECT] | UnsetType = UNSET
    method: Literal["POST"] = "POST"
    url: Literal["/v1/chat/completions"] = "/v1/chat/completions"


Items = Annotated[list[NewItem], Meta(min_length=1, max_length=MAX_ITEMS)]


class NewBatch(Struct, forbid_unknown_fields=True):
    """Completion requests, up to 10,000. `requests` is another name for `items`, which Anthropic's clients use."""

    items: Items | UnsetType = UNSET
    requests: Items | UnsetType = UNSET
    parallelism: Annotated[int, Meta(ge=1, le=MAX_PARALLELISM, description="Items that run at once, at the most.")] = 10
    on_failure: Annotated[
        Literal["continue", "stop"], Meta(description="What becomes of the other items when one fails.")
    ] = "continue"
    approval: Annotated[
        Literal["none", "before_release"], Meta(description="Whether somebody has to approve before results are read.")
    ] = "none"
    deadline: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="By when it has to be done and approved (RFC 3339, with an offset); else within seven days."),
    ] = None
    metadata: Annotated[dict[str, Any], Meta(description="Yours, up to 16 kB of JSON.")] = {}


class ItemCounts(Struct):
    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class BatchOut(Struct):
    """A batch. `reason` says why it is paused, or has failed or expired; `round` goes up with each retry."""

    id: UUID
    object: Literal["batch"]
    status: Literal[
        "queued",
        "running",
        "paused",
        "awaiting_approval",
        "cancelling",
        "completed",
        "failed",
        "cancelled",
        "rejected",
        "expired",
    ]
    reason: str | None
    items: ItemCounts
    round: int
    parallelism: int
    on_failure: Literal["continue", "stop"]
    approval: Literal["none", "before_release"]
    deadline: datetime
    metadata: dict[str, Any]
    created_at: datetime
    approved_at: datetime | None
    finished_at: datetime | None


class BatchPage(Struct):
    data: list[BatchOut]
    next_cursor: UUID | None


def out(batch: Batch) -> dict[str, Any]:
    """A batch as it is answered: by its columns, so that what is not to be told is never among them."""
    return {
        "id": batch.id,
        "object": "batch",
        "status": batch.status,
        "reason": batch.reason,
        "items": {
            "total": batch.unfinished + batch.succeeded + batch.failed + batch.cancelled,
            "queued": batch.queued,
            "running": batch.running,
            "succeeded": batch.succeeded,
            "failed": batch.failed,
            "cancelled": batch.cancelled,
        },
        "round": batch.round,
        "parallelism": batch.parallelism,
        "on_failure": batch.on_failure,
        "approval": batch.approval,
        "deadline": batch.deadline,
        "metadata": batch.metadata,
        "created_at": batch.created_at,
        "approved_at": batch.approved_at,
        "finished_at": batch.finished_at,
    }
