"""`/livez` and `/readyz`."""

from typing import Final, Literal

from msgspec import Struct

from app import health
from app.openapi.operation import Answer, Operation, Subject


class Health(Struct):
    status: Literal["ok"]


SUBJECT: Final = Subject(
    operations={
        "livez": Operation(endpoint=health.livez, answers=[Answer(description="It does.", json=Health)]),
        "readyz": Operation(endpoint=health.readyz, answers=[Answer(description="It can.", json=Health)]),
    }
)
