"""The error that ended a log, as one that can be answered with."""

from typing import Final

from app.domain.errors import AppError
from app.domain.events import Error

_BY_CODE: Final = {"cancelled": 409, "interrupted": 503, "storage_unavailable": 503}
_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class ToldError(AppError):
    """What whoever waited for the answer then was told, for those who ask again."""

    def __init__(self, event: Error) -> None:
        error = event.error
        code = (error.details.error_code if error.details is not None else None) or error.type
        super().__init__(error.message, code=code, should_retry=False if code == "cancelled" else None)
        self.type = error.type

    @property
    def http_status(self) -> int:
        return _BY_CODE.get(self.code) or _BY_TYPE.get(self.type, 502)
