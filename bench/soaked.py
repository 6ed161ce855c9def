"""The application, which on SIGUSR1 writes how many tasks it has into a file: `python -m bench.soaked FILE`.

Tasks are what one cannot count from outside.
"""

import asyncio
import signal
import sys
from pathlib import Path
from types import FrameType

from app.__main__ import main


def _tell(_number: int, _frame: FrameType | None) -> None:
    Path(sys.argv[1]).write_text(str(len(asyncio.all_tasks())))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    sys.exit(main())
