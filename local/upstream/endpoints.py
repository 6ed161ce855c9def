"""The paths of the Messages API, and the simulator's own."""

import msgspec
from aiohttp import web

from local.upstream import answers, bodies, directives, models, refusals, schema, validation
from local.upstream.answers import Answer
from local.upstream.bodies import Body
from local.upstream.directives import Directives
from local.upstream.faults import FAULTS
from local.upstream.pace import Pace
from local.upstream.player import play
from local.upstream.schema import CountRequest, Json, MessagesRequest
from local.upstream.state import RECORD, REQUEST_ID, STATE
from local.upstream.usage import count_input

routes = web.RouteTableDef()


@routes.post("/v1/messages")
async def create_message(request: web.Request) -> web.StreamResponse:
    """Answer a conversation, or do what its fault says."""
    asked = schema.parse(schema.decode(await request.read()), MessagesRequest)
    wanted = _admit(request, asked, asked.metadata, stream=bool(asked.stream))
    answer = answers.compose(asked, wanted)
    request[RECORD].usage = answer.usage()
    body, pace = _played(asked, answer, wanted, request)
    script = FAULTS[wanted.fault](body)
    return await play(script, pace, request, request[RECORD], batch=wanted.batch)


@routes.post("/v1/messages/count_tokens")
async def count_tokens(request: web.Request) -> web.Response:
    """Count a conversation's tokens: the sum of what `usage` would say of its input."""
    asked = schema.parse(schema.decode(await request.read()), CountRequest)
    _admit(request, asked, None, stream=False)
    return _json({"input_tokens": count_input(asked).total})


@routes.get("/v1/models")
async def list_models(_: web.Request) -> web.Response:
    """List the models that are no faults."""
    return _json(models.listing())


@routes.get("/v1/models/{model}")
async def get_model(request: web.Request) -> web.Response:
    """Describe one model; every model that would answer exists."""
    model = request.match_info["model"]
    models.check(model, directives.find(model, None))
    return _json(models.info(model))


@routes.get("/_sim/requests")
async def list_requests(request: web.Request) -> web.Response:
    """Show the recorded requests, oldest first."""
    return _json([kept.as_json() for kept in request.app[STATE].recorder.requests])


@routes.delete("/_sim/requests")
async def forget_requests(request: web.Request) -> web.Response:
    """Forget the recorded requests, and how often faults with `times` have happened."""
    request.app[STATE].forget()
    return web.Response(status=204)


def _admit(request: web.Request, asked: CountRequest, metadata: Json | None, *, stream: bool) -> Directives:
    """Return what the request asks of the simulator, unless it is refused."""
    wanted = directives.find(asked.model, metadata)
    models.check(asked.model, wanted)
    validation.check(asked, request.headers.get("anthropic-version"))
    wanted = request.app[STATE].allowance.spend(wanted)
    if refusals.is_refusal(wanted, stream=stream):
        raise refusals.refusal(wanted)
    return wanted


def _played(asked: MessagesRequest, answer: Answer, wanted: Directives, request: web.Request) -> tuple[Body, Pace]:
    pace = request.app[STATE].pace.for_request(wanted)
    if not asked.stream:
        return bodies.message(answer), pace.in_one_piece(answer.output_tokens)
    body = bodies.event_stream(
        answer, request_id=request[REQUEST_ID], after=wanted.after, unknown_event=wanted.unknown_event
    )
    return body, pace


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
