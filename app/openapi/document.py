"""The document as a whole."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.openapi import (
    about,
    access,
    batches,
    chat_completions,
    completions,
    conversations,
    errors,
    health,
    messages,
    models,
    oversight,
    responses,
    security,
    ui_chat,
    usage,
)
from app.openapi.headers import HEADERS, references
from app.openapi.operation import Answer, Body, Operation, Subject
from app.openapi.schemas import Components

EXAMPLES: Final = Path(__file__).parent / "examples"
_SUBJECTS: Final[Sequence[Subject]] = (
    completions.SUBJECT,
    batches.SUBJECT,
    conversations.SUBJECT,
    messages.SUBJECT,
    chat_completions.SUBJECT,
    responses.SUBJECT,
    ui_chat.SUBJECT,
    models.SUBJECT,
    access.SUBJECT,
    oversight.SUBJECT,
    usage.SUBJECT,
    health.SUBJECT,
)
# FastAPI's own of a failed validation, which nobody gets here.
_UNUSED: Final = ("HTTPValidationError", "ValidationError")


def document(app: FastAPI) -> dict[str, Any]:
    """What the routes of `app` say, with what is said of each here.

    Raises:
        KeyError: nothing is said here of one of the routes.
    """
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=about.SUMMARY,
        description=about.DESCRIPTION,
        tags=about.TAGS,
        servers=about.SERVERS,
        routes=app.routes,
    )
    components = Components()
    described = {
        operation.endpoint: partial(_described, id, operation, subject.prefix, components)
        for subject in _SUBJECTS
        for id, operation in subject.operations.items()
    }
    for route in _routes(app.routes):
        for method in route.methods or ():
            told = made["paths"][route.path_format][method.lower()]
            told |= described[route.endpoint](route)
            for parameter in told.get("parameters", ()):
                parameter["schema"] = _present(parameter["schema"])
    schemas = {name: schema for name, schema in made["components"]["schemas"].items() if name not in _UNUSED}
    made["components"] = {
        "schemas": dict(sorted((schemas | components.schemas).items())),
        "headers": HEADERS,
        "securitySchemes": security.SCHEMES,
    }
    return made


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out, never null."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return kinds[0] | {name: value for name, value in schema.items() if name != "anyOf"}


def _routes(routes: Sequence[BaseRoute]) -> list[APIRoute]:
    return [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]


def _described(id: str, operation: Operation, prefix: str, components: Components, route: APIRoute) -> dict[str, Any]:
    authorized = security.requirements(route.dependant)
    possible = [
        *errors.ANYWHERE,
        *(errors.WITH_A_KEY if authorized else ()),
        *(errors.WITH_A_BODY if operation.takes else ()),
        *operation.errors,
    ]
    answers = [_answer(id, answer, prefix, components) for answer in operation.answers]
    told: dict[str, Any] = {
        "operationId": id,
        "security": authorized,
        "responses": dict(chain(answers, errors.responses(route.path_format, possible, components).items())),
    }
    if operation.takes is not None:
        told["requestBody"] = _body(operation.takes, prefix, components)
    return told


def _body(body: Body, prefix: str, components: Components) -> dict[str, Any]:
    examples = {name: {"value": example} for name, example in body.examples.items()}
    content = {"schema": components.body(body, prefix), "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def _answer(id: str, answer: Answer, prefix: str, components: Components) -> tuple[str, dict[str, Any]]:
    content: dict[str, Any] = {}
    if answer.json is not None:
        content["application/json"] = {
            "schema": components.answer(answer.json, prefix),
            "example": msgspec.json.decode((EXAMPLES / f"{id}.json").read_bytes()),
        }
    if answer.lines is not None:
        content["application/jsonl"] = {
            "schema": components.answer(answer.lines, prefix),
            "example": (EXAMPLES / f"{id}.jsonl").read_text(encoding="utf-8"),
        }
    if answer.csv:
        table = (EXAMPLES / f"{id}.csv").read_text(encoding="utf-8")
        content["text/csv"] = {"schema": {"type": "string"}, "example": table}
    if answer.stream is not None:
        content["text/event-stream"] = {
            "schema": {"title": "Server-sent events", "description": answer.stream},
            "example": (EXAMPLES / f"{id}.sse").read_text(encoding="utf-8"),
        }
    told: dict[str, Any] = {"description": answer.description, "headers": references(answer.headers)}
    return str(answer.status), told | ({"content": content} if content else {})
