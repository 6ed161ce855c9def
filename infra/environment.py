"""The settings that a home starts with. Names: app/config.py."""

from typing import Literal

from infra.shared import SharedStack
from infra.stage import Stage
from infra.workflow_access import machine_arn


def environment(home: Literal["lambda", "fargate"], *, settings: Stage, shared: SharedStack) -> dict[str, str]:
    """What both homes have in common; secrets are not here but in the secret that is named."""
    pool = {"lambda": ("0", "2"), "fargate": ("1", "5")}[home]
    return {
        "HEADWATER_HOME": home,
        "HEADWATER_DATABASE_URL": shared.database.url,
        "HEADWATER_DATABASE_AUTH": "iam",
        "HEADWATER_SECRETS_ARN": shared.secret.secret.secret_arn,
        # Nobody reads it: secrets are read at the start, and another version of them has to start new processes.
        **({"HEADWATER_SECRETS_VERSION": version} if (version := shared.secret.version) else {}),
        "HEADWATER_POOL_MIN": pool[0],
        "HEADWATER_POOL_MAX": pool[1],
        "HEADWATER_UPSTREAM": settings.upstream,
        "HEADWATER_TOTAL_TIMEOUT": str(settings.stream_seconds),
        **({"HEADWATER_WORKFLOW": machine_arn(shared, settings)} if settings.workflow else {}),
    }
