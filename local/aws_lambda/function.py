"""What is configured of a function."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

REGION: Final = "us-east-1"
KEY_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
ACCOUNT: Final = "123456789012"


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Times are seconds, memory is MB.

    `concurrency` is how many requests one environment has at a time: more than one as on Managed Instances. `port` is
    the variable by which the application learns where to listen: on Lambda each environment has a network of its own,
    here all have one.
    """

    name: str = "headwater"
    version: str = "$LATEST"
    memory: int = 1769
    timeout: float = 900
    init_timeout: float = 10
    concurrency: int = 1
    environments: int = 100
    snapstart: bool = False
    port: str = "PORT"
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(KEY_VARIABLES, "local"))

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"

    @property
    def freezes(self) -> bool:
        """Managed Instances run on."""
        return self.concurrency == 1

    @property
    def initialization(self) -> str:
        return "snap-start" if self.snapstart else "on-demand"
