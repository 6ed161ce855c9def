"""How the homes are deployed: what one may choose, with what infra/ deploys as defaults, but for a second task."""

from typing import Literal

import msgspec

Architecture = Literal["arm64", "x86"]
FrontDoor = Literal["rest_api", "http_api", "function_url"]


class OnLambda(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`memory` is MB. `provisioned` environments are kept ready all month; then there is no SnapStart.

    `versions` are those of which Lambda keeps a snapshot; `init_seconds` are billed for a start without one.
    """

    memory: int = 1024
    architecture: Architecture = "arm64"
    front_door: FrontDoor = "rest_api"
    snapstart: bool = True
    versions: int = 1
    init_seconds: float = 2.0
    provisioned: int = 0
    free_tier: bool = False

    def __post_init__(self) -> None:
        if not 128 <= self.memory <= 10_240:
            raise ValueError("memory of a function is from 128 to 10240 MB.")
        if self.provisioned < 0 or self.versions < 1:
            raise ValueError("provisioned has to be at least 0, and versions at least 1.")
        if self.front_door == "http_api":
            raise ValueError("An HTTP API does not stream: choose rest_api or function_url.")

    @property
    def gigabytes(self) -> float:
        return self.memory / 1024


class OnManagedInstances(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`price` is that of an instance and hour, where another one than `instance` of the prices is meant.

    `streams_per_instance` is what one environment takes (infra/managed_instances.py); there are three at first.
    """

    instance: str = "m7g.large"
    price: float | None = None
    streams_per_instance: int = 64
    headroom: float = 0.3
    least: int = 3
    front_door: FrontDoor = "function_url"

    def __post_init__(self) -> None:
        _check(self.streams_per_instance, self.headroom, self.least)


class OnFargate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`vcpu` and `memory` (GB) are a task's, which holds `streams_per_task`; of these, `headroom` is left free.

    `least` tasks run always: two, so that one may be lost. `addresses` are the load balancer's public ones.
    """

    vcpu: float = 0.5
    memory: float = 1.0
    architecture: Architecture = "arm64"
    streams_per_task: int = 200
    headroom: float = 0.3
    least: int = 2
    addresses: int = 2

    def __post_init__(self) -> None:
        _check(self.streams_per_task, self.headroom, self.least)
        if self.vcpu <= 0 or self.memory <= 0:
            raise ValueError("A task has to have some vCPU and memory.")


class Shared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both homes stand on. `acu` are the database's least capacity units.

    `metrics` are CloudWatch's custom ones: 18 of the home, and 6 more for each dialect and family of models, here 4.
    """

    nat_gateways: int = 1
    acu: float = 0.5
    proxy: bool = True
    metrics: int = 42


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: str = "us-east-1"
    on_lambda: OnLambda = msgspec.field(default_factory=OnLambda, name="lambda")
    on_managed_instances: OnManagedInstances = msgspec.field(
        default_factory=OnManagedInstances, name="managed_instances"
    )
    on_fargate: OnFargate = msgspec.field(default_factory=OnFargate, name="fargate")
    shared: Shared = msgspec.field(default_factory=Shared)


def _check(holds: int, headroom: float, least: int) -> None:
    if holds < 1 or least < 1:
        raise ValueError("There has to be at least one, and it has to hold at least one stream.")
    if not 0 <= headroom < 1:
        raise ValueError("headroom is a share: from 0 to less than 1.")
