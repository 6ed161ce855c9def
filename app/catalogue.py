"""The settings file of models: other names for them, what they are called, how long they may answer.

    only_listed = true                  # names that are not in this file are refused

    [models.claude-haiku-4-5]
    display_name = "Haiku"
    max_tokens = 16000                  # where the request says nothing and need not

    [models.gpt-4o-mini]
    upstream = "claude-haiku-4-5"       # an alias: asked of the upstream under this name

It is TOML, or JSON of the same form in a file that ends in `.json`. Aliases hold in every dialect.
"""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.domain.errors import NotFound


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    upstream: str | None = Field(default=None, min_length=1, description="Its name there; the same one if unset.")
    display_name: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)


class Catalogue(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    only_listed: bool = False
    models: dict[str, Model] = {}

    def upstream_name(self, name: str) -> str:
        """What the upstream calls the model `name`.

        Raises:
            NotFound: it is not listed, and only listed ones may be asked for.
        """
        if name not in self.models and self.only_listed:
            raise NotFound(f"There is no model `{name}` here.", code="model_not_found", param="model")
        listed = self.models.get(name)
        return name if listed is None or listed.upstream is None else listed.upstream

    def max_tokens(self, name: str) -> int | None:
        """How long its answers may be where the request does not say; None if the file does not say either."""
        listed = self.models.get(name)
        return listed.max_tokens if listed is not None else None


class CatalogueError(Exception):
    """The file cannot be read, or says something that it cannot say."""


def load(path: str | None) -> Catalogue:
    """The catalogue in the file `path`; an empty one without a file.

    Raises:
        CatalogueError: there is no such file, or not of the form above.
    """
    if path is None:
        return Catalogue()
    try:
        text = Path(path).read_text(encoding="utf-8")
        return Catalogue.model_validate(json.loads(text) if path.endswith(".json") else tomllib.loads(text))
    except (OSError, ValueError) as exc:
        raise CatalogueError(f"{path}: {exc}") from exc
