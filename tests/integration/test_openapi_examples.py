"""What the OpenAPI document shows as answers is what a service answers."""

import pytest

from app.openapi.document import EXAMPLES
from tests.support.headwater import Headwater
from tests.support.openapi import SERVICE, recorded

pytestmark = pytest.mark.asyncio(loop_scope="module")

__all__ = ["SERVICE"]  # of the module's instance


async def test_the_service_answers_as_the_examples_say(headwater: Headwater) -> None:
    written = {file.name: file.read_text(encoding="utf-8") for file in EXAMPLES.iterdir()}
    assert await recorded(headwater) == written, "run `make openapi` and look at what it changes"
