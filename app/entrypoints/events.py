"""What a function is invoked with that is no HTTP request: scheduled maintenance, migrations, generations, and what the
engine of batches asks.
"""

import asyncio
import logging
from typing import Any, Final
from uuid import UUID

from app.entrypoints.lifetime import Lifetime

_log = logging.getLogger(__name__)

# Before the end of an invocation's time its streams end: what they come to has to be committed and told.
MARGIN: Final = 10.0


class UnknownEvent(Exception):
    """Nobody here knows what to do with it."""


def is_event(event: Any) -> bool:
    """Whether a function was invoked with one of ours: a front door writes other keys, whatever a caller sends it."""
    return isinstance(event, dict) and "headwater" in event and "requestContext" not in event


async def handle(event: dict[str, Any], lifetime: Lifetime, deadline: float) -> dict[str, Any]:
    """Do what `event` asks, to its end; `deadline` is that of the invocation, in seconds since 1970.

    Raises:
        UnknownEvent: it is none of ours.
        Exception: it could not be done; invoked again, it may be.
    """
    told = {name: event.get(name) for name in ("completion_id", "batch_id", "position")}
    _log.info("event", extra={"event": event.get("headwater"), **told})
    match event:
        case {"headwater": "maintenance"}:
            await lifetime.engine.maintain()
        case {"headwater": "migrate"}:
            await asyncio.to_thread(_migrate, lifetime)
        case {"headwater": "run", "completion_id": str(id)} if lifetime.state["hand_over"] is not None:
            await lifetime.state["hand_over"].run(UUID(id), deadline - MARGIN)
        case {"headwater": str(name)} if name.startswith("batch_"):
            return await _of_batch(event, lifetime, deadline - MARGIN)
        case _:
            raise _unknown(event)
    return {"status": "done"}


async def _of_batch(event: dict[str, Any], lifetime: Lifetime, ends_by: float) -> dict[str, Any]:
    answer: dict[str, Any] | None = await lifetime.state["batches"].steps.take(event, ends_by)
    if answer is None:
        raise _unknown(event)
    return answer


def _unknown(event: dict[str, Any]) -> UnknownEvent:
    return UnknownEvent(f"an event with {sorted(event)}")


def _migrate(lifetime: Lifetime) -> None:
    from app.db.migrate import migrate_as

    migrate_as(lifetime.engine.settings)
