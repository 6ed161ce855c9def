"""What differs between the stages: all that one may want to choose."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OnDemand:
    """Environments start when requests come, and are billed for nothing else."""


@dataclass(frozen=True, kw_only=True)
class SnapStart:
    """Environments start from a snapshot of an initialised one. Billed: the snapshot by its time, each restore."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """From `cron` (minute hour day month week-day, in `time_zone`) on, at least `minimum` environments."""

    name: str
    hour: str
    minute: str = "0"
    week_day: str = "MON-FRI"
    minimum: int
    time_zone: str = "Etc/UTC"


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    """Between `minimum` and `maximum` environments are kept ready, so that `utilization` of them are at work."""

    minimum: int
    maximum: int
    utilization: float = 0.7
    schedule: tuple[Capacity, ...] = ()


# A function has one of these: Lambda refuses SnapStart together with provisioned concurrency.
Readiness = OnDemand | SnapStart | Provisioned


@dataclass(frozen=True, kw_only=True)
class Network:
    cidr: str = "10.20.0.0/16"
    nat_gateways: int = 1
    """One for all zones, or one a zone. With 0 the upstream has to be Bedrock, by way of the endpoints."""
    interface_endpoints: bool = False
    """AWS's own APIs without the way through NAT: each endpoint is billed by the hour and zone."""


@dataclass(frozen=True, kw_only=True)
class Database:
    engine_version: str = "17.5"
    minimum_acu: float = 0.5
    maximum_acu: float = 4
    readers: int = 0
    backup_days: int = 7
    customer_key: bool = False
    """Encrypt database and secrets with a KMS key of this deployment, in place of AWS's own."""


@dataclass(frozen=True, kw_only=True)
class LambdaHome:
    memory: int = 1024
    readiness: Readiness = field(default_factory=SnapStart)
    reserved_concurrency: int | None = None
    """Most streams at once. Taken from the region's quota, of which 100 have to stay unreserved."""
    requests_per_second: int = 100
    rest_api: bool = True
    function_url: Literal["NONE", "AWS_IAM"] | None = None
    """With AWS_IAM, a request's signature takes `authorization`; the key then travels in `x-api-key`."""
    buffered: bool = False
    """The second function, of `Dockerfile.lambda`, behind an HTTP API: whole answers only."""
    gradual: bool = False
    """Move a tenth of the traffic to a new version first, and all of it after five minutes without an alarm."""
    web_acl: bool = False


@dataclass(frozen=True, kw_only=True)
class FargateHome:
    cpu: Literal[256, 512, 1024, 2048, 4096] = 512
    memory: int = 1024
    minimum_tasks: int = 1
    maximum_tasks: int = 4
    streams_per_task: int = 200
    """What the number of tasks is scaled for."""
    public: bool = False
    """Reachable from the internet, or from the VPC only."""
    certificate_arn: str | None = None
    """With it the load balancer speaks HTTPS, and sends plain HTTP there."""
    public_url: str | None = None
    web_acl: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    keeps_data: bool = True
    """Whether database, logs and keys outlive `make destroy`."""
    upstream: Literal["anthropic", "bedrock"] = "anthropic"
    stream_seconds: int = 900
    """Longest stream. Lambda ends every invocation after 900 s."""
    log_days: Literal[7, 30, 90, 365] = 30
    alarm_email: str | None = None
    monthly_budget: int = 200
    """US dollars of the whole account; told at 80 % of it, forecast or spent."""
    workflow: bool = True
    """The state machine of batches and its function, beside the Lambda home: at rest they cost nothing but an alarm."""
    batch_concurrency: int | None = None
    """Most items of all batches at once; more are throttled, and wait. Without it they may take what callers need of
    the region's quota, from which it is taken (see `LambdaHome.reserved_concurrency`)."""
    daily_model_cost: int = 20
    """US dollars of answers a day and home, by Headwater's own count; told when it is passed."""
    network: Network = field(default_factory=Network)
    database: Database = field(default_factory=Database)
    lambda_home: LambdaHome = field(default_factory=LambdaHome)
    fargate_home: FargateHome = field(default_factory=FargateHome)

    def __post_init__(self) -> None:
        if not self.network.nat_gateways and (self.upstream != "bedrock" or not self.network.interface_endpoints):
            raise ValueError("Without NAT there is only Bedrock, by way of interface endpoints.")
        if not 0 < self.stream_seconds <= 900:
            raise ValueError("No invocation of Lambda is longer than 900 seconds.")
        if not self.lambda_home.rest_api and self.lambda_home.function_url is None:
            raise ValueError("The Lambda home needs a REST API or a Function URL.")
        if self.keeps_data and self.fargate_home.public and self.fargate_home.certificate_arn is None:
            raise ValueError("Without a certificate a Fargate home may be public only in a stage that keeps nothing.")

    @property
    def prefix(self) -> str:
        """What names of this deployment start with."""
        return f"headwater-{self.name}"


# Its Fargate home is on the internet by plain HTTP, so that it can be tried without a domain and a certificate.
DEV = Stage(name="dev", keeps_data=False, monthly_budget=250, fargate_home=FargateHome(public=True))

PROD = Stage(
    name="prod",
    log_days=90,
    monthly_budget=1000,
    daily_model_cost=100,
    batch_concurrency=100,
    network=Network(nat_gateways=2),
    database=Database(minimum_acu=1, maximum_acu=16, readers=1, backup_days=14, customer_key=True),
    lambda_home=LambdaHome(
        memory=1769,
        readiness=Provisioned(
            minimum=2,
            maximum=50,
            schedule=(
                Capacity(name="Morning", hour="7", minute="45", minimum=10),
                Capacity(name="Evening", hour="20", minimum=2),
            ),
        ),
        reserved_concurrency=400,
        gradual=True,
        web_acl=True,
    ),
    fargate_home=FargateHome(cpu=1024, memory=2048, minimum_tasks=2, maximum_tasks=20, web_acl=True),
)

STAGES = {stage.name: stage for stage in (DEV, PROD)}


def stage_called(name: str) -> Stage:
    """Raises: ValueError: there is none of that name."""
    if name not in STAGES:
        raise ValueError(f"There is no stage {name!r}; infra/stage.py has {', '.join(STAGES)}.")
    return STAGES[name]
