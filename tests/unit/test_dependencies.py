"""No request waits for a thread: FastAPI runs every endpoint and dependency that is no coroutine in one."""

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.config import Settings
from app.main import create_app


def _called(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from _called(each)


def _is_coroutine(call: Callable[..., Any] | None) -> bool:
    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


@pytest.mark.parametrize(
    "route",
    [route for route in create_app(Settings()).routes if isinstance(route, APIRoute)],
    ids=lambda route: f"{','.join(route.methods)} {route.path}",
)
def test_everything_that_a_route_calls_is_a_coroutine(route: APIRoute) -> None:
    assert [call for call in _called(route.dependant) if not _is_coroutine(call)] == []
