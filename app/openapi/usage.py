"""`/v1/usage`."""

from typing import Final

from app.access import usage_endpoints
from app.access.usage_schemas import UsagePage
from app.openapi.access import FOREIGN
from app.openapi.errors import BAD_CURSOR, INVALID
from app.openapi.operation import Answer, Operation, Subject

SUBJECT: Final = Subject(
    operations={
        "sum_up_usage": Operation(
            endpoint=usage_endpoints.usage,
            answers=[Answer(description="The sums of each group.", json=UsagePage, csv=True, headers=["link"])],
            errors=[BAD_CURSOR, INVALID, FOREIGN],
        )
    }
)
