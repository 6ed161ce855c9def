"""Whether readers that never read harm the others: pairs of runs, without them and with them, in turn."""

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.modes import Mode, alone, load, plan, quantile
from bench.servers import Server

PAIRS: Final = 5
UNREAD: Final = 15
# More than the sockets of both sides hold: who does not read blocks whoever writes.
MODE: Final = Mode("unread", "300 streams, 15 of them never read", 300, 300, 60, 8, 1, 4000)


def measure(server: Server, pairs: int = PAIRS, mode: Mode = MODE) -> list[tuple[float, float]]:
    """The others' p99 gap between events in milliseconds: all read, 5 % unread; one pair a round."""
    with alone(server) as running:
        asked = msgspec.structs.replace(plan(server, running, mode), seconds=mode.events / mode.rate + 6)
        without = msgspec.structs.replace(asked, streams=mode.streams - UNREAD, at_once=mode.at_once - UNREAD)
        found = []
        for _ in range(pairs):
            first, second = load(without), load(msgspec.structs.replace(asked, unread=UNREAD))
            if first.broken or second.broken != UNREAD:
                raise RuntimeError(f"{first.broken} and {second.broken - UNREAD} streams broke that were read")
            found.append((quantile(first.gaps, 0.99), quantile(second.gaps, 0.99)))
        return found


def told(pairs: Sequence[tuple[float, float]]) -> list[dict[str, str]]:
    differences = [after - before for before, after in pairs]
    mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5
    # Student's t of 4 degrees of freedom, for the five pairs of a run.
    low, high = mean - 2.78 * error, mean + 2.78 * error
    return [
        {
            "p99 gap, all read": f"{statistics.median([before for before, _ in pairs]):.1f} ms",
            "5 % unread": f"{statistics.median([after for _, after in pairs]):.1f} ms",
            "difference, 95 % interval": f"{mean:+.1f} ms ({low:+.1f} to {high:+.1f})",
        }
    ]
