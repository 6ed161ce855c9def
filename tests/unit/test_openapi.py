"""The OpenAPI document, without a service."""

import subprocess
import sys
from typing import Any

import pytest
from starlette.datastructures import Headers

from app.error_handlers import shape_of
from app.openapi.document import EXAMPLES
from tests.support.openapi import DOCUMENT, Operations, document, written
from tests.support.service import ROOT


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document()


def test_the_committed_document_is_what_is_served(made: dict[str, Any]) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == written(made), "run `make openapi` and commit what it writes"


def test_every_operation_is_described(made: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in made["tags"] if tag["description"]}
    for method, path, operation in Operations(made).routes.values():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert tags.issuperset(operation["tags"]), where
        assert all(response["description"] for response in operation["responses"].values()), where


def test_ids_name_one_operation_each(made: dict[str, Any]) -> None:
    assert len(Operations(made).routes) == sum(len(item) for item in made["paths"].values())


def test_every_body_has_a_schema_and_an_example(made: dict[str, Any]) -> None:
    for id, (_, _, operation) in Operations(made).routes.items():
        for response in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for media in response.get("content", {}).values():
                assert media["schema"] not in ({}, {"type": "object"}), id
                assert media.get("example") or media.get("examples"), id


def test_bodies_are_those_of_the_code(made: dict[str, Any]) -> None:
    schemas = made["components"]["schemas"]
    assert set(schemas["NewConversation"]["properties"]) == {"external_id", "title", "system", "metadata", "messages"}
    assert schemas["NewConversation"]["properties"]["messages"]["items"] == {"$ref": "#/components/schemas/NewMessage"}
    assert schemas["NewMessage"]["required"] == ["role", "content"]
    assert set(schemas["MessageOut"]["required"]) == {
        "id", "position", "role", "content", "completion_id", "created_at"
    }  # fmt: skip


def test_every_recorded_answer_is_shown(made: dict[str, Any]) -> None:
    shown = set()
    for id, (_, _, operation) in Operations(made).routes.items():
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                kinds = response.get("content", {})
                shown |= {f"{id}.json" for kind in kinds if kind == "application/json"}
                shown |= {f"{id}.csv" for kind in kinds if kind == "text/csv"}
                shown |= {f"{id}.jsonl" for kind in kinds if kind == "application/jsonl"}
                shown |= {f"{id}.sse" for kind in kinds if kind == "text/event-stream"}
    assert {file.name for file in EXAMPLES.iterdir()} == shown


def test_errors_have_the_media_type_of_their_path(made: dict[str, Any]) -> None:
    for _, path, operation in Operations(made).routes.values():
        kind = shape_of(path, Headers()).media_type.partition(";")[0]
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == [kind], f"{path} {status}"


def test_the_start_pays_nothing_for_the_document() -> None:
    script = "import sys, app.main; sys.exit('app.openapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
