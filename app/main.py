"""The application: builds each part once, wires them, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from app import __version__, catalogue, error_handlers, health, observability
from app.access import endpoints as access
from app.access import oversight
from app.access import usage_endpoints as usage
from app.access.authentication import Authenticator
from app.access.repository import delete_expired_tokens
from app.aws import Aws
from app.batches import endpoints as batches
from app.batches import repository as stored_batches
from app.batches.parts import BatchParts
from app.batches.service import Batches
from app.batches.steps import Steps
from app.batches.upkeep import Upkeep
from app.batches.watch import Watch
from app.batches.workflow import Workflow
from app.completions import endpoints as completions
from app.completions.admission_queue import AdmissionQueue
from app.completions.service import Completions
from app.config import Settings
from app.conversations import endpoints as conversations
from app.db import idempotency
from app.db.pool import Pool, create_pool
from app.dependencies import State
from app.dialects import chat_completions, messages, responses, ui_chat
from app.dialects import models as listed_models
from app.domain.ids import uuid7
from app.middleware import PROBES, BodyLimit, Draining, RequestContext
from app.observability import Tracing
from app.prices import Prices
from app.providers.listing import Listing
from app.providers.load import LazyProvider
from app.streaming.engine import Engine
from app.streaming.hand_over import HandOver
from app.wire import limit_headers

# What a page on another origin may read of an answer.
EXPOSED_HEADERS = [
    "idempotent-replayed",
    "link",
    "location",
    "request-id",
    "retry-after",
    "server-timing",
    "x-completion-id",
    "x-ignored-params",
    "x-request-id",
    "x-should-retry",
    *limit_headers.NAMES,
]
# Those that are asked the most come first: a request is matched against one route after the other.
_ROUTERS = (
    completions.router,
    messages.router,
    chat_completions.router,
    responses.router,
    ui_chat.router,
    conversations.router,
    access.router,
    usage.router,
    oversight.router,
    batches.router,
    listed_models.router,
    health.router,
)


class _Application(FastAPI):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What lies between a stream's first message and its last is of no interest to anything on the way out.

        It may go to the server straight, by this `send`, which saves a stream a twentieth of its CPU.
        """
        state = scope.setdefault("state", {})
        state["send"] = send
        try:
            await super().__call__(scope, receive, send)
        finally:
            state.pop("send", None)  # it refers to the server's exchange, and that to this scope

    def openapi(self) -> dict[str, Any]:
        """The document, made when it is first asked for: what it is made of costs the start nothing."""
        if not self.openapi_schema:
            from app.openapi.document import document

            self.openapi_schema = document(self)
        return self.openapi_schema


def create_app(
    settings: Settings | None = None,
    *,
    middleware: Sequence[Middleware] = (),
    preload: bool = True,
    alongside: Callable[[Engine], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The ASGI application. Opens nothing: that is the lifespan's part. `app.state.engine` is there for the server.

    `middleware` comes between our own and the routes. `preload` has the lifespan begin to import the upstream's SDK.
    `alongside` is entered once the engine runs, and left before it is closed.

    Raises:
        pydantic.ValidationError: `settings` is None and the environment holds a value that does not fit.
        pydantic_settings.SettingsError: `settings` is None and the secret with settings cannot be read.
        CatalogueError: the file of models cannot be read or understood.
        TracingMissing: traces are asked for, and what sends them is not installed.
    """
    settings = settings or Settings()
    models = catalogue.load(settings.models_file)
    observability.configure(settings)
    tracing = observability.switch_on(settings)
    pool = create_pool(settings)
    provider = LazyProvider(settings)
    prices = Prices(settings.upstream, models)
    forget_requests = partial(idempotency.delete_old, retention=settings.idempotency_retention)
    forget_batches = partial(stored_batches.delete_old, retention=settings.batch_retention)
    workflow = Workflow(Aws(settings.aws_region), settings.workflow) if settings.workflow is not None else None
    engine = Engine(
        settings,
        pool,
        provider,
        prices,
        chores=[delete_expired_tokens, forget_requests, forget_batches],
        errands=[Upkeep(pool, workflow, settings.workflow_interval)] if workflow is not None else [],
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            await pool.open(wait=False)
            stack.push_async_callback(pool.close)
            stack.push_async_callback(provider.aclose)
            if preload:
                provider.preload()
            engine.start()
            stack.push_async_callback(asyncio.to_thread, tracing.close)
            observability.started(settings)
            stack.push_async_callback(engine.close)
            if alongside is not None:
                await stack.enter_async_context(alongside(engine))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            hand_over = _hand_over(settings, pool, engine)
            admissions = await stack.enter_async_context(AdmissionQueue(pool))
            watch = await stack.enter_async_context(Watch(pool, settings))

            def of_batches(ends_by: float) -> Completions:
                request_id = f"req_{uuid7().hex}"
                return Completions(settings, models, pool, engine, admissions, hand_over, request_id, ends_by)

            yield State(
                settings=settings,
                pool=pool,
                engine=engine,
                authenticate=Authenticator(pool, settings, tasks),
                catalogue=models,
                listing=Listing(provider),
                hand_over=hand_over,
                admissions=admissions,
                batches=BatchParts(Batches(pool, settings, models, workflow), Steps(pool, workflow, of_batches), watch),
            )

    # Routes, not routers: an included router builds each of its routes a second time, in the middle of the first
    # request, and every later request is matched twice.
    routes = [*(route for router in _ROUTERS for route in router.routes), *_metrics(settings, engine)]
    # No redirects: behind a proxy that ends TLS they would lead to plain HTTP, and clients take their keys along.
    app = _Application(
        title="Headwater",
        version=__version__,
        lifespan=lifespan,
        routes=routes,
        middleware=middleware,
        redirect_slashes=False,
        telemetry=_telemetry(tracing),
    )
    app.state.engine = engine
    error_handlers.register(app)
    _add_middleware(app, settings, engine)
    return app


def _hand_over(settings: Settings, pool: Pool, engine: Engine) -> HandOver | None:
    function = settings.background_function
    if not settings.freezes or function is None:
        return None

    aws = Aws(settings.aws_region)

    def invoke(id: UUID) -> None:
        aws.invoke_later(function, {"headwater": "run", "completion_id": str(id)})

    return HandOver(pool, engine, invoke)


def _metrics(settings: Settings, engine: Engine) -> list[BaseRoute]:
    if settings.metrics_key is None:
        return []
    from app.observability.prometheus import Prometheus

    prometheus = Prometheus(observability.meter, engine.figures)
    return [health.metrics_route(prometheus.page, settings.metrics_key)]


def _add_middleware(app: FastAPI, settings: Settings, engine: Engine) -> None:
    """The last one added is the outermost."""
    app.add_middleware(BodyLimit, limit=settings.max_body, timeout=settings.body_timeout)
    app.add_middleware(Draining, draining=lambda: engine.registry.draining)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    # A frozen process has no timers: there, each request asks whether it is time.
    at_end = engine.minutes.tell_if_due if settings.freezes else None
    app.add_middleware(RequestContext, home=settings.home, tells_timing=settings.server_timing, at_end=at_end)


def _telemetry(tracing: Tracing) -> TelemetryConfig:
    """The framework's own spans, one for each request; of the rest that it could tell, we tell our own."""
    return TelemetryConfig(
        tracer_provider=tracing.provider,
        tracing=tracing.provider is not None,
        metrics=False,
        logs=False,
        operation_spans=False,
        auto_configure=False,
        exclude=lambda scope: scope["path"] in PROBES,
    )
