"""What stands against a request, as the SQL function `admit` has it, in words."""

from typing import Final

from app.completions.repository import Admission
from app.domain.errors import (
    AppError,
    BudgetExceeded,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
)
from app.domain.limits import Limits, Window

_PREVIOUS: Final = "previous_response_id"
# Nobody knows when a stream ends.
_OPEN_RETRY: Final = 1.0


def refusal(admission: Admission) -> AppError | None:
    """Why the request is refused for good; None where it is not."""
    match admission.outcome:
        case "no_conversation":
            return NotFound("There is no such conversation.")
        case "busy":
            return Conflict("This conversation has a running completion.", code="conversation_busy")
        case "too_long":
            return InvalidRequest("What this request goes on from has become too long.", code="history_too_long")
        case "key_reused":
            return IdempotencyKeyReused()
        case "limited":
            return _limit(admission)
    return previous(admission.outcome)


def limits_of(admission: Admission) -> Limits:
    limits, remaining = admission.limits or [None, None], admission.remaining or [None, None]
    requests, tokens = (
        Window(limit, left) if limit is not None and left is not None else None
        for limit, left in zip(limits, remaining, strict=True)
    )
    return Limits(requests=requests, tokens=tokens)


def _limit(admission: Admission) -> AppError:
    whose = "This key's tenant" if admission.of_tenant else "This key"
    match admission.refusal:
        case "monthly_budget":
            return BudgetExceeded(f"{whose} has no room for this in its budget of the month.")
        case "total_budget":
            return BudgetExceeded(f"{whose} has no room for this in its budget.")
        case "unpriced":
            return PermissionDenied(
                f"{whose} has a budget, and what this would cost is not known.", code="unknown_price", param="model"
            )
    return _rate_limit(admission, whose)


def _rate_limit(admission: Admission, whose: str) -> RateLimited:
    words = {
        "requests": "has used up its requests of this minute",
        "tokens": "has used up its tokens of this minute",
        "open_streams": "has as many open streams as it may have",
        "too_many_tokens": "may not have as many tokens in a minute as this request may need",
    }
    kind = admission.refusal or ""
    return RateLimited(
        f"{whose} {words[kind]}.",
        code="too_many_tokens" if kind == "too_many_tokens" else f"{kind}_limited",
        limits=limits_of(admission),
        retry_after=_OPEN_RETRY if kind == "open_streams" else admission.retry_after,
        should_retry=False if kind == "too_many_tokens" else None,
    )


def previous(outcome: str) -> AppError | None:
    """What stands against going on from a completion; None for other outcomes."""
    match outcome:
        case "no_previous":
            return NotFound("There is no such previous response.", code="previous_response_not_found", param=_PREVIOUS)
        case "previous_deleted":
            return NotFound(
                "A response further back in this chain was deleted.",
                code="previous_response_not_found",
                param=_PREVIOUS,
            )
        case "previous_not_stored":
            return InvalidRequest(
                "The previous response was not stored (`store: false`): send its items as `input` instead.",
                code="previous_response_not_stored",
                param=_PREVIOUS,
            )
        case "previous_in_conversation":
            return InvalidRequest(
                "The previous response belongs to a conversation: go on with `conversation`.",
                code="previous_response_in_conversation",
                param=_PREVIOUS,
            )
        case "previous_running":
            return Conflict(
                "The previous response is still running: wait for its end, or cancel it.",
                code="previous_response_running",
                param=_PREVIOUS,
                should_retry=False,
            )
    return None
