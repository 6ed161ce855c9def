"""The faults that are an HTTP status: `sim-429` and the like."""

from local.upstream.directives import Directives
from local.upstream.errors import KINDS, ApiError

OVERLOADED = "Overloaded"
MESSAGES = {
    401: "invalid x-api-key",
    402: "Your credit balance is too low to access the API.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "model: {spec}",
    429: "This request would exceed your account's rate limit. Please try again later.",
    500: "Internal server error",
    529: OVERLOADED,
}
WITH_RETRY_AFTER = (429, 529)
# What a stream tells after its status has to be the status of an answer that comes in one piece.
ERROR_EVENTS = frozenset({"error-first", "error-mid"})


def is_refusal(directives: Directives, *, stream: bool) -> bool:
    """Tell whether the fault is an error status for this kind of request."""
    return directives.fault in map(str, KINDS) or (not stream and directives.fault in ERROR_EVENTS)


def refusal(directives: Directives) -> ApiError:
    """Return the error that the fault asks for."""
    status = 529 if directives.fault in ERROR_EVENTS else int(directives.fault)
    message = MESSAGES.get(status, "The request asked the simulator to refuse.").format(spec=directives.spec)
    headers = {"retry-after": f"{directives.retry_after:g}"} if status in WITH_RETRY_AFTER else {}
    return ApiError(status, message, headers)
