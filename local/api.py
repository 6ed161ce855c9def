"""The few calls that the launcher makes to the service it started."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from local.errors import LaunchError


def call(method: str, url: str, key: str = "", body: object = None, *, timeout: float = 10) -> tuple[int, Any]:
    """The status and the JSON of the answer; 0 while nobody listens, or if nothing comes for `timeout` seconds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        connection.request(method, f"{parts.path}?{parts.query}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, _json(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def is_ready(url: str) -> bool:
    return call("GET", f"{url}/readyz")[0] == 200


def key_works(url: str, key: str) -> bool:
    return call("GET", f"{url}/v1/completions?limit=1", key)[0] == 200


def make_key(url: str, admin_key: str) -> str:
    """Raises: LaunchError: the service made none."""
    wanted = {"name": "first", "scopes": ["completions", "conversations"]}
    status, answer = call("POST", f"{url}/v1/keys", admin_key, wanted)
    if status != 201:
        raise LaunchError(f"The first key could not be made: the service answered {status or 'nothing'}, {answer}.")
    return str(answer["secret"])
