"""The settings file of models: other names for them, what they are called, how long they may answer.

    only_listed = true                  # names that are not in this file are refused

    [models.claude-haiku-4-5]
    display_name = "Haiku"
    max_tokens = 16000                  # where the request says nothing and need not

    [models.gpt-4o-mini]
    upstream = "claude-haiku-4-5"       # an alias: asked of the upstream under this name

    [models.our-own-model.price]        # in place of the listed one: US dollars for a million tokens
    input = 0.5
    output = 1.5

It is TOML, or JSON of the same form in a file that ends in `.json`. Aliases hold in every dialect.
"""

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.errors import NotFound

Dollars = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """For a million tokens. What is read from the cache or written to it costs as other input where nothing is said.

    What else may be asked for (another speed or tier, searches where nothing is said of them) has no known price then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    web_searches: Annotated[Dollars | None, Field(description="For a thousand of them.")] = None


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    upstream: str | None = Field(default=None, min_length=1, description="Its name there; the same one if unset.")
    display_name: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    price: Annotated[Price | None, Field(description="Of the model itself, not of an alias.")] = None

    @model_validator(mode="after")
    def _priced_under_its_own_name(self) -> Self:
        if self.price is not None and self.upstream is not None:
            raise ValueError("an alias costs what the model costs that it stands for")
        return self


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
        read = json.loads if path.endswith(".json") else tomllib.loads
        return Catalogue.model_validate(read(text, parse_float=Decimal))
    except (OSError, ValueError) as exc:
        raise CatalogueError(f"{path}: {exc}") from exc
