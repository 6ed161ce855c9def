"""Every error that a caller can see.

    AppError
    ├── InvalidRequest          400   the request cannot be read or breaks a rule of the API
    │   ├── Unprocessable       422   it reads well but a field's value is wrong
    │   │   └── IdempotencyKeyReused  its idempotency key has named another request
    │   ├── RequestTooLarge     413
    │   └── RequestTooSlow      408
    ├── Unauthenticated         401
    ├── PermissionDenied        403
    ├── NotFound                404   also for what belongs to another tenant
    ├── Conflict                409
    ├── Gone                    410   it existed; its retention has passed
    ├── RateLimited             429   a limit of the caller's key or tenant
    ├── BudgetExceeded          402   its budget has no room for this
    ├── NotConfigured           501   this installation lacks what it takes
    ├── Unavailable             503   this instance is full, draining or without its database: try again
    └── UpstreamError           any   the upstream refused or failed
        └── UpstreamTimeout     504

`status` is the HTTP status, `code` names the cause for programs, `type` is the kind of error in Anthropic's terms
(the canonical events speak that language), `message` is for people and holds nothing internal.
"""

from typing import ClassVar

from app.domain.limits import Limits


class AppError(Exception):
    """Base of all errors that are answered to a caller.

    `param` names the field at fault, where there is one; `retry_after` is in seconds; `should_retry` is told to SDKs
    that would otherwise guess from the status.
    """

    status: ClassVar[int] = 500
    code: str = "internal_error"
    type: str = "api_error"
    should_retry: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.should_retry = self.should_retry if should_retry is None else should_retry

    @property
    def http_status(self) -> int:
        return self.status


class InvalidRequest(AppError):
    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class Unprocessable(InvalidRequest):
    status = 422
    code = "validation_failed"


class IdempotencyKeyReused(Unprocessable):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This idempotency key was used for another request.", param="idempotency-key")


class RequestTooLarge(InvalidRequest):
    status = 413
    code = "request_too_large"
    type = "request_too_large"


class RequestTooSlow(InvalidRequest):
    status = 408
    code = "request_too_slow"


class Unauthenticated(AppError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class PermissionDenied(AppError):
    status = 403
    code = "permission_denied"
    type = "permission_error"


class NotFound(AppError):
    status = 404
    code = "not_found"
    type = "not_found_error"


class MethodNotAllowed(AppError):
    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


class Conflict(AppError):
    status = 409
    code = "conflict"
    type = "conflict_error"


class Gone(AppError):
    status = 410
    code = "gone"
    type = "invalid_request_error"


class RateLimited(AppError):
    """`limits` are told in the answer's headers."""

    status = 429
    code = "rate_limited"
    type = "rate_limit_error"

    def __init__(
        self, message: str, *, code: str, limits: Limits, retry_after: float | None, should_retry: bool | None = None
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after, should_retry=should_retry)
        self.limits = limits


class BudgetExceeded(AppError):
    """Asking again does not help before somebody raises the budget, or the month ends."""

    status = 402
    code = "budget_exceeded"
    type = "billing_error"
    should_retry = False


class NotConfigured(AppError):
    status = 501
    code = "not_configured"
    should_retry = False


class Unavailable(AppError):
    status = 503
    code = "unavailable"
    type = "overloaded_error"


class UpstreamError(AppError):
    """The upstream refused or failed. `retryable` says whether another try could end otherwise."""

    status = 502
    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        http_status: int = 502,
        type: str = "api_error",
        code: str = "upstream_error",
        retry_after: float | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self._http_status = http_status
        self.type = type
        self.retryable = retryable

    @property
    def http_status(self) -> int:
        return self._http_status


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for too long."""

    def __init__(self, message: str) -> None:
        super().__init__(message, http_status=504, type="timeout_error", code="upstream_timeout", retryable=True)
