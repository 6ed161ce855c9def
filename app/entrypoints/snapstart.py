"""What Lambda's web adapter calls around a memory snapshot: there only where one is taken, so that nobody else can."""

from collections.abc import Awaitable, Callable
from typing import Final

from app.entrypoints.lifetime import Lifetime

# As in AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH and AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH.
BEFORE_CHECKPOINT: Final = "/_snapstart/before-checkpoint"
AFTER_RESTORE: Final = "/_snapstart/after-restore"

Hooks = dict[str, Callable[[], Awaitable[None]]]


def hooks(lifetime: Lifetime) -> Hooks:
    """By their paths."""
    return {BEFORE_CHECKPOINT: lifetime.before_snapshot, AFTER_RESTORE: lifetime.after_restore}
