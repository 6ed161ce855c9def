"""JSON Schemas of types, msgspec's and pydantic's, in the components that all operations share."""

from inspect import isclass
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel

from app.openapi.operation import Body

Schema = dict[str, Any]
_REFERENCE: Final = "#/components/schemas/"


class Components:
    """`schemas` grows with every type that is asked for."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def answer(self, type: Any, prefix: str = "") -> Schema:
        """The schema of what is answered: a reference, if it has a name of its own."""
        return self._schema(type, prefix, "serialization")

    def body(self, body: Body, prefix: str = "") -> Schema:
        """The schema of what is accepted."""
        schemas = [self._schema(type, prefix, "validation") for type in body.types]
        if len(schemas) == 1 and not body.open:
            return schemas[0]
        names = [schema["$ref"].removeprefix(_REFERENCE) for schema in schemas]
        self.schemas[names[0]] = _joined([self.schemas.pop(name) for name in names], body)
        return schemas[0]

    def _schema(self, type: Any, prefix: str, mode: Literal["validation", "serialization"]) -> Schema:
        if isclass(type) and issubclass(type, BaseModel):
            schema = type.model_json_schema(ref_template=_REFERENCE + "{model}", mode=mode)
            components = schema.pop("$defs", {}) | {type.__name__: schema}
            schema = {"$ref": _REFERENCE + type.__name__}
        else:
            (schema,), found = msgspec.json.schema_components([type], ref_template=f"{_REFERENCE}{prefix}{{name}}")
            components = {prefix + name: component for name, component in found.items()}
        for name, component in components.items():
            assert self.schemas.setdefault(name, component) == component, f"two types are called {name}"
        return schema


def _joined(objects: list[Schema], body: Body) -> Schema:
    """The first object, with the fields of all and those that are open."""
    fields = {name: {"description": text} for name, text in (body.open or {}).items()}
    for each in objects:
        fields |= each["properties"]
    required = [name for each in objects for name in each.get("required", ())]
    return objects[0] | {"properties": fields, "required": required}
