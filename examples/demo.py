"""`make demo`: start the service, score the example rollouts over HTTP, show what came back.

Exit status: 0 where every rollout got a reward or a typed refusal, 1 where one did not, 2 where
the service did not start.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from citemark_grpo import ScoreClient, ScoreError, await_service
from citemark_schemas import ScoreResult

ROLLOUTS = Path(__file__).parent / "rollouts.jsonl"
LEDGER = Path(__file__).parents[1] / ".cache" / "demo.db"
"""Opened by `make ui`."""
START_S = 120.0
SCORE_S = 420.0
STOP_S = 15.0
COLUMNS = {"rollout": 23, "reward": 6, "rubrics": 7, "F1": 5, "outcome": 21, "what it is": 44}
WIDTH = 118
_TOKEN = "CITEMARK_API_TOKEN"  # noqa: S105  the name of one


class NotStarted(Exception):
    """The service ended, or was not ready in time; its own output says why."""


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the service says that its judge can be reached."""
    async with ScoreClient(url) as client:

        async def probe() -> None:
            if process.poll() is not None:
                raise NotStarted(f"the service ended with status {process.returncode}")
            await client.get("/readyz")

        try:
            # With a bound on attempts, which the time ends first, an ordinary start logs nothing.
            await await_service(probe, timeout_s=START_S, attempts=1_000, max_pause_s=0.5)
        except ScoreError as error:
            raise NotStarted(f"the service was not ready after {START_S:.0f} s") from error


@contextmanager
def running_service(judge: str, ledger: Path) -> Iterator[str]:
    """`citemark serve` on a free port with that ledger; the URL while it runs."""
    port = free_port()
    serve = [sys.executable, "-m", "citemark_service", "serve", "--port", str(port)]
    flags = ["--judge", judge, "--log-level", "warning", "--ledger", f"sqlite:///{ledger}"]
    # Nobody else is to call it, so it needs no token, though others here may have one.
    environment = {name: value for name, value in os.environ.items() if name != _TOKEN}
    process = subprocess.Popen([*serve, *flags], env=environment)  # noqa: S603  our own
    url = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(wait_until_ready(url, process))
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def describe_outcome(result: ScoreResult) -> Text:
    """What became of one rollout, in a word."""
    if result.failure is not None:
        return Text(result.failure.kind, style="red")
    if result.refusal is not None:
        return Text(result.refusal.kind, style="yellow")
    return Text("judged", style="green")


def format_number(value: float | None) -> str:
    """Three decimals, or a dash where there is nothing to show."""
    return "–" if value is None else f"{value:.3f}"


def build_tables(rows: list[dict[str, Any]], results: list[ScoreResult]) -> Iterator[Table]:
    """One table a question, in the order of the file."""
    pairs = zip(rows, results, strict=True)
    for question, group in itertools.groupby(pairs, key=lambda pair: pair[0]["question"]):
        table = Table(title=f"\n{question}", title_justify="left", box=None, pad_edge=False)
        for name, width in COLUMNS.items():
            table.add_column(name, width=width, justify="right" if width < 9 else "left")
        for row, result in group:
            f1 = result.citation.f1 if result.citation is not None else None
            measures = map(format_number, (result.reward, result.rubric_reward, f1))
            table.add_row(result.id, *measures, describe_outcome(result), row["metadata"]["note"])
        yield table


async def score(url: str, rows: list[dict[str, Any]]) -> list[ScoreResult]:
    """The rollouts' results; few at a time, since a small machine's model judges one by one."""
    # As a trainer sends them: with their run, and the step they are of.
    rollouts = [{**row, "run": "demo", "step": 1} for row in rows]
    async with ScoreClient(url, batch_items=1, parallel=2) as client:
        return await client.score(rollouts, deadline_s=SCORE_S)


def clear_ledger(ledger: Path) -> Path:
    """Where this demo's rollouts are kept, without those of the last one."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
    return ledger


def show_scores(url: str) -> int:
    """Score the examples, print the table, and return the exit status."""
    rows = [json.loads(line) for line in ROLLOUTS.read_text(encoding="utf-8").splitlines()]
    console = Console(width=WIDTH)
    console.print(f"scoring {len(rows)} rollouts at {url} …")
    start = time.monotonic()
    results = asyncio.run(score(url, rows))
    took_s = time.monotonic() - start
    failed = [result for result in results if result.reward is None]
    console.print(*build_tables(rows, results), sep="\n")
    model = results[0].judge.model
    console.print(f"\n{len(results)} rollouts by {model} in {took_s:.1f} s, {len(failed)} failed")
    console.print("make ui shows why each got its reward, at http://127.0.0.1:8000/ui")
    for result in failed:
        console.print(f"{result.id}: {result.failure}", style="red", markup=False)
    return 1 if failed else 0


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", default="embedded", help="embedded, smollm2, vllm or openai")
    judge = parser.parse_args().judge
    try:
        with running_service(judge, clear_ledger(LEDGER)) as url:
            return show_scores(url)
    except NotStarted as error:
        Console(stderr=True).print(str(error), style="red")
        return 2
    except ScoreError as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
