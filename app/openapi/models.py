"""`/v1/models`."""

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from app.dialects import models
from app.domain.errors import NotFound
from app.openapi.operation import Answer, Operation, Subject


class Model(Struct):
    """`object`, `created` and `owned_by` are OpenAI's fields, the others Anthropic's."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: datetime


class ModelList(Struct):
    object: Literal["list"]
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


SUBJECT: Final = Subject(
    operations={
        "list_models": Operation(
            endpoint=models.list_models, answers=[Answer(description="All of them.", json=ModelList)]
        ),
        "get_model": Operation(
            endpoint=models.read_model,
            answers=[Answer(description="The model.", json=Model)],
            errors=[NotFound("There is no model `claude-9` here.", code="model_not_found", param="model")],
        ),
    }
)
