"""What a process has for its batches, made once."""

import msgspec

from app.batches.service import Batches
from app.batches.steps import Steps
from app.batches.watch import Watch


class BatchParts(msgspec.Struct, frozen=True):
    """For callers, for the engine, and for those who watch."""

    service: Batches
    steps: Steps
    watch: Watch
