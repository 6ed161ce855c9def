"""What a stream costs while nothing comes: `python -m bench.held_streams .data/run.json [streams]`.

Against a service that `make run` started. Opens completions whose simulated upstream never answers, waits until all are
held, and prints the service's resident memory and open files for each. Loopback only; lets go after half a minute.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

MODEL: Final = "sim-silence?first_ms=0"
SETTLING: Final = 12.0


def app_process(launcher: int) -> psutil.Process:
    """The service among the children of `make run`."""
    children = psutil.Process(launcher).children(recursive=True)
    return next(child for child in children if child.cmdline()[-2:] == ["-m", "app"])


async def _hold(run: dict[str, Any]) -> asyncio.StreamWriter:
    body = json.dumps({"model": MODEL, "input": "wait", "max_tokens": 10, "on_disconnect": "cancel"}).encode()
    address = urlsplit(run["url"])
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {run['key']}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return writer


async def main(run: dict[str, Any], streams: int) -> None:
    service = app_process(run["pid"])
    (await _hold(run)).close()  # what the first stream alone brings is not a cost of each
    await asyncio.sleep(5)
    memory, files = service.memory_info().rss, service.num_fds()
    writers = [await _hold(run) for _ in range(streams)]
    await asyncio.sleep(SETTLING)
    print(f"{streams} held streams: {(service.memory_info().rss - memory) / streams / 1000:.1f} kB resident each,")
    print(f"{service.num_fds() - files} files more than the {files} before, {memory / 1e6:.0f} MB before the first")
    for writer in writers:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]) if len(sys.argv) > 2 else 1000))
