"""Which models there are."""

from local.upstream.answers import ALWAYS_THINKS
from local.upstream.directives import PREFIX, Directives
from local.upstream.errors import KINDS, ApiError, invalid
from local.upstream.faults import FAULTS
from local.upstream.schema import Json

LISTED = ("claude-sim", ALWAYS_THINKS)
KNOWN_FAULTS = frozenset({*FAULTS, *map(str, KINDS)})


def check(model: str, directives: Directives) -> None:
    """Refuse a model, or a fault, that does not exist."""
    known = directives.fault in KNOWN_FAULTS
    if not model.startswith(("claude-", PREFIX)) or (model.startswith(PREFIX) and not known):
        raise ApiError(404, f"model: {model}")
    if not known:
        raise invalid(
            f"metadata.user_id: there is no fault {directives.fault!r}; there are {', '.join(sorted(KNOWN_FAULTS))}"
        )


def listing() -> Json:
    """Return the list of models; it has one page."""
    return {
        "data": [info(model) for model in LISTED],
        "has_more": False,
        "first_id": LISTED[0],
        "last_id": LISTED[-1],
    }


def info(model: str) -> Json:
    """Return what there is to say of one model."""
    return {
        "type": "model",
        "id": model,
        "display_name": model.replace("-", " ").title(),
        "created_at": "2026-10-21T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }
