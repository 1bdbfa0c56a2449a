"""How soon the pages answer over a large ledger: time to first byte of each, cold and warm.

    python benchmarks/million.py million.db
    python benchmarks/pages.py million.db

The service runs in a process of its own. Cold is the first time a page is asked for, with nothing
of the file in the operating system's memory; warm is the median of the next. Linux only.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx

_START_S: Final = 30.0
_STOP_S: Final = 15.0
_AGAIN: Final = 5
_FILTERS: Final = ("failed", "citation", "siblings", "addressed")


@contextlib.contextmanager
def serving(ledger: Path) -> Iterator[str]:
    """The service over that ledger; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [sys.executable, "-m", "citemark_service", "serve", "--port", str(port)]
    words += ["--ledger", f"sqlite:///{ledger.absolute()}", "--log-level", "warning"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CITEMARK_")}
    process = subprocess.Popen(words, env=kept)
    try:
        yield _ready(f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S)


def _ready(url: str) -> str:
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                return url
        time.sleep(0.1)
    raise SystemExit("the service did not start")


def addresses(ledger: Path) -> dict[str, str]:
    """Every page and filter, for a run, a step, a group and a rollout in the middle."""
    connection = sqlite3.connect(f"file:{ledger.absolute()}?mode=ro", uri=True)
    (last,) = connection.execute("SELECT max(seq) FROM rollouts").fetchone()
    middle = "SELECT run, step, group_key, seq FROM rollouts WHERE seq >= ? ORDER BY seq LIMIT 1"
    run, step, group, seq = connection.execute(middle, (last // 2,)).fetchone()
    connection.close()
    place = {"run": run, "step": step}
    return {
        "runs": "",
        "run": f"run?{urlencode({'run': run})}",
        **{f"run, {name}": f"run?{urlencode({'run': run, 'show': name})}" for name in _FILTERS},
        "step": f"step?{urlencode(place)}",
        "group": f"group?{urlencode({**place, 'group': group})}",
        "rollout": f"rollout?n={seq}",
        "judge": f"judge?n={seq}",
    }


def forget(ledger: Path) -> None:
    """Let the operating system drop what it has of the file in memory."""
    with ledger.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_byte_ms(client: httpx.Client, address: str) -> float:
    """Milliseconds until the first byte of the body."""
    start = time.perf_counter()
    with client.stream("GET", address) as response:
        response.raise_for_status()
        body = response.iter_raw()
        next(body, b"")
        took_s = time.perf_counter() - start
        for _ in body:  # to the end, so that the connection can be used again
            pass
    return took_s * 1_000


def measured(ledger: Path) -> dict[str, tuple[float, float]]:
    """Each page's first and median further time, in milliseconds."""
    found = {}
    with serving(ledger) as url, httpx.Client(base_url=f"{url}/ui/", timeout=60.0) as client:
        for name, address in addresses(ledger).items():
            forget(ledger)
            cold = first_byte_ms(client, address)
            warm = [first_byte_ms(client, address) for _ in range(_AGAIN)]
            found[name] = (cold, statistics.median(warm))
    return found


def main(words: list[str]) -> None:
    """Print a line a page, and with `--json` one object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args(words)
    found = measured(options.ledger)
    for name, (cold, warm) in found.items():
        print(f"{name:16} cold {cold:7.1f} ms   warm {warm:7.1f} ms")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
