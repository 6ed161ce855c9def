"""All settings. Only this module reads the environment; the frozen object is passed down from `create_app`."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _blank_is_unset(value: object) -> object:
    return None if value == "" else value


OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_unset)]


class Settings(BaseSettings):
    """Each field is an environment variable with the prefix `HEADWATER_`, unless an alias says otherwise.

    Times are seconds and sizes are bytes.
    """

    model_config = SettingsConfigDict(env_prefix="HEADWATER_", frozen=True, extra="ignore", populate_by_name=True)

    home: Literal["local", "fargate", "lambda"] = "local"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: OptionalText = Field(default=None, description="What `Location` headers start with.")
    admin_key: OptionalSecret = Field(default=None, description="May make and revoke keys; the way to the first one.")
    cors_origins: list[str] = Field(default=[], description="Origins of pages that may call; none by default.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    service_name: str = "headwater"

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://localhost/headwater"),
        validation_alias=AliasChoices("HEADWATER_DATABASE_URL", "DATABASE_URL"),
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

    max_streams: int = Field(default=2000, ge=1, description="Generations at once on this instance; then 503.")
    max_body: int = Field(default=5_500_000, ge=1, description="Below the 6 MB of the smallest front door.")
    body_timeout: float = Field(default=30.0, gt=0, description="A whole request body comes within this time, or 408.")
    max_history: int = Field(default=32_000_000, ge=1, description="Of a conversation that a request goes on with.")
    max_page_bytes: int = Field(default=4_000_000, ge=1)
    disconnect_grace: float = Field(default=10.0, ge=0, description="Unread for this long: cancelled, where asked for.")
    keepalive: float = Field(default=15.0, gt=0, description="Longest silence towards a reader.")
    send_timeout: float = Field(default=30.0, gt=0, description="A reader that takes nothing for this long is dropped.")
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

    @property
    def runs_in_background(self) -> bool:
        """Whether a generation goes on that no response waits for: a frozen process does nothing."""
        return self.home != "lambda"

    def location(self, path: str) -> str:
        """`path` as a `Location` header names it."""
        return (self.public_url or "").rstrip("/") + path
