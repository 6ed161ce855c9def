"""What a caller's limits leave it."""

import msgspec

# A minute, counted by whole seconds: everything has fallen out after this many.
WINDOW_SECONDS = 61


class Window(msgspec.Struct, frozen=True):
    """What may be used within a minute, and what of it is left."""

    limit: int
    remaining: int


class Limits(msgspec.Struct, frozen=True):
    """The tighter ones of a key and its tenant, as they stood when a request was decided on; None: not limited."""

    requests: Window | None = None
    tokens: Window | None = None
