"""The application, which on SIGUSR1 writes into the file `COLLECTED` what waited for Python's collector, by kinds."""

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType, FunctionType

from app.__main__ import main


def _kind(found: object) -> str:
    """Of a function, which one."""
    named = found if isinstance(found, FunctionType) else type(found)
    return f"{named.__module__}.{named.__qualname__}"


def _tell(_number: int, _frame: FrameType | None) -> None:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = Counter(_kind(each) for each in gc.garbage)
    gc.garbage.clear()
    gc.collect()
    written = Path(f"{os.environ['COLLECTED']}.part")
    written.write_text(json.dumps(kinds))
    written.rename(os.environ["COLLECTED"])


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    sys.exit(main())
