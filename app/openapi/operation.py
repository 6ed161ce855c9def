"""What the document says of an endpoint beyond what its signature says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import AppError


@dataclass(frozen=True, kw_only=True)
class Body:
    """A request's JSON body: the fields of all `types`, and those of `open`, whose values somebody else judges.

    `open` has each field's description. `examples` are whole bodies by name.
    """

    types: Sequence[Any]
    examples: Mapping[str, Any]
    open: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One way to succeed: with JSON of the type `json`, with a stream that `stream` describes, with either, or empty.

    `csv` says that what is in the JSON can be had as a table too. `lines` is the type of each line of JSON Lines.

    `headers` are names of `app.openapi.headers`, beside those that every answer has.
    """

    description: str
    status: int = 200
    json: Any = None
    stream: str | None = None
    lines: Any = None
    csv: bool = False
    headers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`errors` are examples of those that this endpoint can answer, beside the ones that come of its kind.

    What it answered to the example requests is in `examples/`, in files of its id.
    """

    endpoint: Callable[..., Any]
    answers: Sequence[Answer]
    errors: Sequence[AppError] = ()
    takes: Body | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Operations by their ids. The names of their types begin with `prefix`: dialects call different things alike."""

    operations: Mapping[str, Operation]
    prefix: str = ""
