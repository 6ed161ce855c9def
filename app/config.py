"""All settings. Only this module reads the environment; the frozen object is passed down from `create_app`."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    AWSSecretsManagerSettingsSource,
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)


def _blank_is_unset(value: object) -> object:
    return None if value == "" else value


OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_unset)]


# Where one home wants another default. On Lambda an environment has one request at a time, of which it keeps no
# connection longer than it must; and what is told to stop has two seconds.
_OF_HOME: Final[dict[str, dict[str, Any]]] = {
    "lambda": {"pool_min": 0, "pool_max": 2, "record_tick": 0.5, "drain_grace": 0.5},
}


class _DefaultsOfHome(PydanticBaseSettingsSource):
    """The last one asked: what nobody has set, as the home has it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return _OF_HOME.get(self.current_state.get("home", ""), {}).get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return _OF_HOME.get(self.current_state.get("home", ""), {})


class Settings(BaseSettings):
    """Each field is an environment variable with the prefix `HEADWATER_`, unless an alias says otherwise.

    Times are seconds and sizes are bytes. What the environment does not have may be in the secret that `secrets_arn`
    names: a JSON object in AWS Secrets Manager with further settings by the names of their environment variables.

    Raises:
        pydantic.ValidationError: a value does not fit.
        pydantic_settings.SettingsError: the secret cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEADWATER_", frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    home: Literal["local", "fargate", "lambda"] = "local"
    secrets_arn: OptionalText = Field(default=None, description="A secret with further settings.")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: OptionalText = Field(default=None, description="What `Location` headers start with.")
    admin_key: OptionalSecret = Field(default=None, description="May make and revoke keys; the way to the first one.")
    cors_origins: list[str] = Field(default=[], description="Origins of pages that may call; none by default.")
    server_timing: bool = Field(
        default=True,
        description="Tell callers who answered, and what the upstream took.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    service_name: str = "headwater"
    emf: bool | None = Field(default=None, description="Metrics for CloudWatch in the log; by default on AWS.")
    metrics_interval: float = Field(default=60.0, gt=0, description="How often an instance tells how it is doing.")
    metrics_key: OptionalSecret = Field(default=None, description="Opens `/metrics`, which is not there without it.")
    xray: bool = Field(default=False, description="Traces by X-Ray where Lambda's own runtime calls the application.")
    # The standard ones of OpenTelemetry, whose SDK reads the others itself.
    otel_disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    otel_traces_exporter: str = Field(default="otlp", validation_alias="OTEL_TRACES_EXPORTER")
    otel_endpoint: OptionalText = Field(
        default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    otel_propagators: OptionalText = Field(default=None, validation_alias="OTEL_PROPAGATORS")

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://localhost/headwater"),
        validation_alias=AliasChoices("HEADWATER_DATABASE_URL", "DATABASE_URL"),
    )
    database_auth: Literal["url", "iam", "secret"] = Field(
        default="url", description="The password: the URL's, an IAM token for each connection, or that of a secret."
    )
    database_secret_arn: OptionalText = Field(default=None, description="A secret with `username` and `password`.")
    aws_region: OptionalText = Field(
        default=None, validation_alias=AliasChoices("HEADWATER_AWS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    pool_min: int = Field(default=1, ge=0)
    pool_max: int = Field(default=5, ge=1)
    pool_timeout: float = Field(default=5.0, gt=0, description="Wait for a free connection, then 503.")

    upstream: Literal["anthropic", "bedrock", "aws"] = "anthropic"
    upstream_base_url: OptionalText = Field(
        default=None, validation_alias=AliasChoices("HEADWATER_UPSTREAM_BASE_URL", "ANTHROPIC_BASE_URL")
    )
    upstream_api_key: OptionalSecret = Field(
        default=None, validation_alias=AliasChoices("HEADWATER_UPSTREAM_API_KEY", "ANTHROPIC_API_KEY")
    )
    upstream_version: str = Field(default="2023-06-01", description="`anthropic-version` where the caller names none.")
    chat_model: str = Field(default="claude-haiku-4-5", min_length=1, description="For `useChat`, which names none.")
    chat_system: OptionalText = Field(
        default=None, description="Its instructions, where neither chat nor page has any."
    )
    models_file: OptionalText = Field(default=None, description="Aliases and defaults; app/catalogue.py has its form.")
    default_max_tokens: int = Field(default=8192, ge=1, description="Where neither the request nor the file says it.")
    reasoning_content: bool = Field(default=False, description="Let thoughts out to Chat Completions clients.")
    connect_timeout: float = Field(default=5.0, gt=0)
    first_event_timeout: float = Field(default=60.0, gt=0)
    idle_timeout: float = Field(default=120.0, gt=0, description="Longest silence of the upstream between two events.")
    total_timeout: float = Field(default=900.0, gt=0, description="Longest stream; then it ends with an error event.")
    max_events: int = Field(default=200_000, ge=1, le=1_000_000, description="Most events of one stream.")
    peek_timeout: float = Field(default=3.0, gt=0, description="Wait for the first event before answering 200.")
    max_retries: int = Field(default=2, ge=0, description="Of the upstream, within the peek, before its first event.")

    streaming_url: OptionalText = Field(default=None, description="Where to stream, for callers of a home that cannot.")
    background_function: OptionalText = Field(
        default=None, description="The Lambda function, by name or ARN, that runs what nobody waits for."
    )
    background_patience: float = Field(
        default=300.0, gt=0, description="What was handed to that function begins within this time, or is interrupted."
    )
    workflow: OptionalText = Field(
        default=None, description="The ARN of the state machine that orders batches; none can be made without it."
    )
    workflow_interval: float = Field(
        default=60.0, gt=0, description="How often the state machine is asked about each batch that has not ended."
    )
    batch_retention: float = Field(default=30 * 86400.0, gt=0, description="A finished batch is kept this long.")
    lambda_function: OptionalText = Field(default=None, validation_alias="AWS_LAMBDA_FUNCTION_NAME")
    lambda_initialization: str = Field(default="", validation_alias="AWS_LAMBDA_INITIALIZATION_TYPE")

    max_streams: int = Field(default=2000, ge=1, description="Generations at once on this instance; then 503.")
    max_body: int = Field(default=5_500_000, ge=1, description="Below the 6 MB of the smallest front door.")
    body_timeout: float = Field(default=30.0, gt=0, description="A whole request body comes within this time, or 408.")
    max_history: int = Field(default=32_000_000, ge=1, description="Of a conversation that a request goes on with.")
    max_page_bytes: int = Field(default=4_000_000, ge=1)
    disconnect_grace: float = Field(default=10.0, ge=0, description="Unread for this long: cancelled, where asked for.")
    keepalive: float = Field(default=15.0, gt=0, description="Longest silence towards a reader.")
    send_timeout: float = Field(default=30.0, gt=0, description="A reader that takes nothing for this long is dropped.")
    keep_alive: float = Field(default=75.0, gt=0, description="Longer than the load balancer keeps idle connections.")
    ecs_agent_uri: OptionalText = Field(default=None, validation_alias="ECS_AGENT_URI")
    drain_grace: float = Field(default=100.0, ge=0, description="Generations may finish this long after SIGTERM.")

    record_tick: float = Field(default=0.1, gt=0)
    record_buffer: int = Field(default=64_000_000, gt=0, description="Unrecorded bytes of all streams, at the most.")
    record_patience: float = Field(default=60.0, gt=0, description="A database outage that streams live through.")
    lease: float = Field(default=15.0, gt=0)
    control_tick: float = Field(default=1.0, gt=0)
    follow_tick: float = Field(default=0.1, gt=0)
    follow_tick_max: float = Field(default=1.0, gt=0)
    maintenance_interval: float = Field(default=30.0, gt=0)
    idempotency_retention: float = Field(default=86400.0, gt=0, description="A repeated request is known this long.")
    log_retention: float = Field(default=7 * 86400.0, gt=0, description="A finished stream can be replayed this long.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.lambda_function and self.home != "lambda":
            raise ValueError("on AWS Lambda, home must be `lambda`")
        if self.database_auth == "iam" and self.aws_region is None:
            raise ValueError("database_auth `iam` needs AWS_REGION")
        if self.database_auth == "secret" and self.database_secret_arn is None:
            raise ValueError("database_auth `secret` needs database_secret_arn")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = [init_settings, env_settings]
        if arn := env_settings().get("secrets_arn"):
            sources.append(_in_secret(settings_cls, arn))
        return (*sources, _DefaultsOfHome(settings_cls))

    @property
    def emits_emf(self) -> bool:
        return self.emf if self.emf is not None else self.home != "local"

    @property
    def exports_traces(self) -> bool:
        return self.otel_endpoint is not None and not self.otel_disabled and self.otel_traces_exporter == "otlp"

    @property
    def freezes(self) -> bool:
        """Whether the process stands still while no request is answered: then it can promise nothing for later."""
        return self.home == "lambda"

    @property
    def runs_in_background(self) -> bool:
        """Whether there is a way for a generation that no response waits for."""
        return not self.freezes or self.background_function is not None

    @property
    def is_snapshotted(self) -> bool:
        """Whether Lambda takes a snapshot of this process and goes on from copies of it (SnapStart)."""
        return self.lambda_initialization == "snap-start"

    def location(self, path: str) -> str:
        """`path` as a `Location` header names it."""
        return (self.public_url or "").rstrip("/") + path


def _in_secret(settings: type[BaseSettings], arn: str) -> PydanticBaseSettingsSource:
    import boto3

    boto3.setup_default_session()  # it would keep its credentials, over a memory snapshot as well
    try:
        return AWSSecretsManagerSettingsSource(
            settings, arn, region_name=arn.split(":")[3], case_sensitive=False, env_prefix="HEADWATER_"
        )
    except Exception as exc:  # its own errors, botocore's, or those of what is no JSON object
        reason = getattr(exc, "response", {}).get("Error", {}).get("Code") or type(exc).__name__
        raise SettingsError(f"the secret {arn} cannot be read: {reason}") from exc
