"""The README's settings exist, with the defaults it names."""

import json
import re
from pathlib import Path

import pytest

from app.config import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()
LAUNCHERS_OWN = {"HEADWATER_DATA_DIR", "HEADWATER_MODEL"}
ROWS = re.findall(r"^\| (`HEADWATER_\w+`(?:, `HEADWATER_\w+`)*) \| (`[^|]+`)", README, re.MULTILINE)
DEFAULTS = [
    pair
    for names, defaults in ROWS
    for pair in zip(re.findall("`(.+?)`", names), re.findall("`(.+?)`", defaults), strict=False)
]


def test_every_variable_is_read_by_something() -> None:
    fields = {f"HEADWATER_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"HEADWATER_[A-Z_]+", README)) <= fields | LAUNCHERS_OWN


@pytest.mark.parametrize(("name", "default"), DEFAULTS)
def test_default_is_the_one_of_the_settings(name: str, default: str) -> None:
    actual = Settings.model_fields[name.removeprefix("HEADWATER_").lower()].default
    assert actual == (default if isinstance(actual, str) else json.loads(default))
