"""Does line by line what it is told, with the handler in its process: run by tests as the runtime of a function.

Told to fork, it goes on in as many copies as there are answers to give, one after the other: as from one snapshot.
"""

import asyncio
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from snapshot_restore_py import get_after_restore, get_before_snapshot

from app.domain.ids import uuid7
from app.entrypoints.lambda_handler import handler


class Context:
    """What the handler asks of its context."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.time() + seconds
        self.aws_request_id = str(uuid7())

    def get_remaining_time_in_millis(self) -> int:
        return round((self._deadline - time.time()) * 1000)


def obey(order: dict[str, Any]) -> Any:
    match order:
        case {"do": "invoke", "event": event}:
            return handler(event, Context(order.get("seconds", 60)))
        case {"do": "before snapshot"}:
            for function, arguments, named in reversed(get_before_snapshot()):
                function(*arguments, **named)
        case {"do": "after restore"}:
            for function, arguments, named in get_after_restore():
                function(*arguments, **named)
            return {"random": random.getrandbits(64)}
        case {"do": "modules"}:
            return sorted(sys.modules)
        case {"do": "copies", "orders": orders, "count": count}:
            return [_in_a_copy(orders) for _ in range(count)]
    return None


def _in_a_copy(orders: list[dict[str, Any]]) -> Any:
    state = random.getstate()
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with os.fdopen(reading) as answers:
            told = json.load(answers)
        os.waitpid(child, 0)
        return told
    # A fork gives Python's generator another seed and has no threads; a snapshot keeps both.
    random.setstate(state)
    asyncio.get_event_loop().set_default_executor(ThreadPoolExecutor())
    with os.fdopen(writing, "w") as answers:
        json.dump([obey(order) for order in orders], answers)
    os._exit(0)


for line in sys.stdin:
    try:
        answer = {"answer": obey(json.loads(line))}
    except Exception as exc:
        answer = {"error": type(exc).__name__}
    sys.stdout.write("\x1e" + json.dumps(answer) + "\n")
    sys.stdout.flush()
