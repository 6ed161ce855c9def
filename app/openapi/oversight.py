"""`/v1/tenants/{tenant}/limits` and `/v1/audit`."""

from typing import Final

from app.access import oversight
from app.access.schemas import AuditPage, Limits, TenantLimits
from app.domain.errors import PermissionDenied, Unprocessable
from app.openapi.access import FOREIGN
from app.openapi.errors import BAD_CURSOR, INVALID
from app.openapi.operation import Answer, Body, Operation, Subject

_CONFIGURED: Final = PermissionDenied("Only the configured admin key may do this.", code="admin_key_only")
_TENANT: Final = Unprocessable("tenant: String should match pattern", param="tenant")

SUBJECT: Final = Subject(
    operations={
        "get_tenant_limits": Operation(
            endpoint=oversight.get_tenant_limits,
            answers=[Answer(description="Its limits, and what it has spent.", json=TenantLimits)],
            errors=[_CONFIGURED, _TENANT],
        ),
        "set_tenant_limits": Operation(
            endpoint=oversight.set_tenant_limits,
            takes=Body(types=[Limits], examples={"both": {"open_streams": 100, "monthly_budget": "500.00"}}),
            answers=[Answer(description="Its limits now, and what it has spent.", json=TenantLimits)],
            errors=[_CONFIGURED, _TENANT],
        ),
        "list_audit": Operation(
            endpoint=oversight.list_audit,
            answers=[Answer(description="A page of changes.", json=AuditPage)],
            errors=[BAD_CURSOR, INVALID, FOREIGN],
        ),
    }
)
