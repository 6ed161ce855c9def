"""An instance as it runs on Lambda, and what its web adapter sends it."""

import json
import time
from typing import Any

import httpx

FUNCTION = {"AWS_LAMBDA_FUNCTION_NAME": "headwater-stream"}
SNAPSTART = FUNCTION | {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


def invocation(seconds: float = 60, front_door: Any = None) -> dict[str, str]:
    """The headers of an invocation with so much time left; `front_door` is what they tell of an HTTP request."""
    context = {"request_id": "8f5e2c2e", "deadline": round((time.time() + seconds) * 1000), "xray_trace_id": None}
    return {"x-amzn-lambda-context": json.dumps(context), "x-amzn-request-context": json.dumps(front_door)}


def of_caller(seconds: float = 60) -> dict[str, str]:
    """Those of a request that came through a front door."""
    return invocation(seconds, {"http": {"method": "POST", "path": "/"}, "stage": "$default"})


async def send_event(client: httpx.AsyncClient, event: Any, seconds: float = 60) -> httpx.Response:
    """Have an instance handle an event, as an asynchronous invocation does."""
    return await client.post("/events", json=event, headers=invocation(seconds))
