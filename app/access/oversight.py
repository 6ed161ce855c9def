"""`/v1/tenants/{tenant}/limits` for whoever runs the service, and `/v1/audit` for admins."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from app.access import audit, meters, service
from app.access.endpoints import Admin
from app.access.schemas import AuditPage, Limits, TenantLimits, TenantName
from app.dependencies import PageDep, PoolDep, page_of
from app.domain.errors import PermissionDenied
from app.domain.principal import Principal, Tenant

router = APIRouter(prefix="/v1", tags=["oversight"])


async def _configured(admin: Admin) -> Principal:
    if admin.key_id is not None:
        raise PermissionDenied("Only the configured admin key may do this.", code="admin_key_only")
    return admin


ConfiguredAdmin = Annotated[Principal, Depends(_configured)]
TenantPath = Annotated[TenantName, Path()]


@router.get("/tenants/{tenant}/limits", summary="Read a tenant's limits", dependencies=[Depends(_configured)])
async def get_tenant_limits(tenant: TenantPath, pool: PoolDep) -> TenantLimits:
    """What a tenant may use in all, whichever of its keys asks, and what it has spent."""
    return await _limits(pool, tenant)


@router.put("/tenants/{tenant}/limits", summary="Set a tenant's limits")
async def set_tenant_limits(admin: ConfiguredAdmin, tenant: TenantPath, body: Limits, pool: PoolDep) -> TenantLimits:
    """Put these limits in the place of those that there are; what is left out is not limited. They hold at once."""
    await service.set_tenant_limits(pool, admin, tenant, body)
    return await _limits(pool, tenant)


async def _limits(pool: PoolDep, tenant: Tenant) -> TenantLimits:
    async with pool.connection() as conn:
        limits, spent = await meters.of_tenant(conn, tenant)
    return TenantLimits.model_validate({"tenant": tenant, "limits": limits, "spent": spent})


@router.get("/audit", summary="List changes of keys and limits", response_model=AuditPage)
async def list_audit(
    admin: Admin,
    pool: PoolDep,
    page: PageDep,
    tenant: Annotated[TenantName | None, Query()] = None,
    key_id: Annotated[UUID | None, Query(description="Changes of this key alone.")] = None,
) -> dict[str, Any]:
    """Changes of keys and limits, newest first; of one's own tenant, or of all with the configured admin key."""
    visible = service.visible_tenant(admin, tenant)
    async with pool.connection() as conn:
        entries = await audit.page(conn, visible, key_id=key_id, before=page.cursor, limit=page.limit + 1)
    return page_of([asdict(entry) for entry in entries], page)
