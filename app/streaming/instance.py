"""Who this process is to the others."""

from app.domain.ids import uuid7
from app.observability import name_instance


class Instance:
    """An id for as long as it is believed alive; a new one after it was declared dead or restored from a snapshot."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.renew()

    def renew(self) -> None:
        self.id = uuid7()
        name_instance(self.id)
