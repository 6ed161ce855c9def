"""The web adapter that is put beside a command: the real one where it has been built, else a stand-in."""

import os
import re
import sys
from pathlib import Path
from typing import Final

STAND_IN: Final = "stand-in"
_HOOKS_SINCE: Final = (1, 1)


def built_adapter(*, hooks: bool) -> str:
    """The path of what `make adapter` made, or STAND_IN if it made none, or none that calls hooks."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted(cache.glob("headwater/adapter-*/bin/lambda-adapter"))
    fit = [path for path in built if not hooks or _version(path) >= _HOOKS_SINCE]
    return str(fit[-1]) if fit else STAND_IN


def _version(adapter: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", adapter.parent.parent.name)[:2]))


def adapter_command(adapter: str) -> list[str]:
    return [sys.executable, "-m", "local.aws_lambda.stand_in_adapter"] if adapter == STAND_IN else [adapter]
