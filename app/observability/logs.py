"""One JSON line per record on standard output, by AWS Lambda Powertools.

Only the keys of a context are used: those of the logger are the process's, and one request's would be on all lines.
"""

import json
import logging
import sys
from typing import Any, Final

import msgspec
from aws_lambda_powertools import Logger

from app.config import Settings

_SERVICE: Final = "headwater"
# They tell of every request they make, or of their own start.
_TALKATIVE: Final = (
    "httpx2",
    "uvicorn.error",
    "botocore",
    "sse_starlette",
    "alembic.runtime.migration",
    "opentelemetry",
)


def _as_json(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=str).decode()
    except Exception:  # such as half of a surrogate pair, which only an escape can tell
        return json.dumps(line, default=str)


logger = Logger(
    service=_SERVICE,
    use_rfc3339=True,
    utc=True,
    serialize_stacktrace=False,
    json_serializer=_as_json,
    # A message is text: by default each is tried as JSON, which takes as long as to write the line.
    json_deserializer=str,
)


def configure(settings: Settings) -> None:
    """Send every module's log records through the one formatter; call once, when the app is created."""
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False  # else each line would have the name of its task
    logger.setLevel(settings.log_level)
    logger.append_keys(home=settings.home, init_type=settings.lambda_initialization or "process")
    logging.getLogger(_SERVICE).propagate = False  # it has the handler that the root gets here
    logging.basicConfig(handlers=[logger.registered_handler], level=settings.log_level, force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
