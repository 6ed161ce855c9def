"""`/livez` says that the process answers, `/readyz` that it can do its work."""

from fastapi import APIRouter

from app.dependencies import PoolDep

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Does the process answer?")
async def livez() -> dict[str, str]:
    """Needs no database: a restart would not bring one back."""
    return {"status": "ok"}


@router.get("/readyz", summary="Can it do its work?")
async def readyz(pool: PoolDep) -> dict[str, str]:
    """503 while the database does not answer."""
    async with pool.connection() as conn:
        await conn.execute("SELECT 1 FROM instances LIMIT 1")
    return {"status": "ok"}
