"""`make bench`: what the service costs, what it sends, how it keeps up, what it holds and bears.

    make bench                        about four minutes, less without vLLM
    make bench ARGS="--soak 600"      ten minutes of memory instead of half a minute
    make bench ARGS=--million         also with a million rollouts in the ledger: minutes, 4 GB
    make bench ARGS=--json            the last line is one JSON object

Each part stands alone: one that fails is marked in the table, and the exit status is 1. An
interrupt prints what was measured so far.

Linux only: CPU time is read from the kernel's clock of another process. Run it on a machine that
does nothing else; judge, service and driver share its processors.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

import hostile
import keeping
import latency
import million
import overhead
import prompts
import reading
import serving
import soak
from report import Broken, Line, record, run_part, table
from workload import PROMPTS, SAMPLES, training_step

APART_RATIO, GROUPED_RATIO = 4.0, 3.0
"""CPU over the floor: of rollouts that share nothing, and of groups that share sources."""
_WIDTH = 118
Part = tuple[str, Callable[[], Iterator[Line]]]


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--soak", type=float, default=30.0, metavar="S", help="0 skips it")
    parser.add_argument("--repetitions", type=int, default=6, metavar="N")
    parser.add_argument("--million", action="store_true", help="fill a ledger first")
    parser.add_argument("--no-vllm", action="store_true", help="skip the real vLLM")
    return parser.parse_args(words)


def parts(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """Everything that is measured, in order."""
    step, stamps, repetitions = training_step(), itertools.count(1), options.repetitions
    apart = training_step(prompts=PROMPTS * SAMPLES, samples=1)
    many = folder / "million.db"
    few = max(1, repetitions // 2)
    yield "prompts as sent", lambda: prompts.lines(step, stamps, file=folder / "requests")
    for name, each, ratio in (("apart", apart, APART_RATIO), ("grouped", step, GROUPED_RATIO)):
        yield (
            f"rollouts {name} at a judge that answers at once, beside the floor",
            partial(
                overhead.lines,
                name,
                each,
                stamps,
                ratio=ratio,
                folder=folder,
                repetitions=repetitions,
            ),
        )
    yield (
        "rollouts apart at 200 ms a call and at 50",
        lambda: latency.lines(apart, stamps, folder=folder, repetitions=few),
    )
    yield (
        "the same with a ledger and without",
        lambda: keeping.lines(
            "a new one", step, stamps, repetitions=repetitions, ledger=folder / "fresh.db"
        ),
    )
    if options.million:
        yield "a ledger of a million", lambda: million.lines(many)
        yield (
            "a step with that ledger and without",
            lambda: keeping.lines(
                "one of a million", step, stamps, repetitions=2 * repetitions, ledger=many
            ),
        )
        yield (
            "a step beside a reader of its pages",
            lambda: reading.lines(step, stamps, repetitions=repetitions, ledger=many),
        )
    if options.soak:
        yield "memory", lambda: soak.lines(step, stamps, seconds=options.soak)
    for attack in hostile.ATTACKS:
        yield f"beside {attack.name}", partial(hostile.lines, attack)
    yield "beside odd requests to every route", hostile.odd_lines
    if not options.no_vllm:
        yield "a real vLLM on the CPU", lambda: serving.lines(stamps, folder=folder)


def run_parts(every: Iterable[Part], console: Console) -> list[Line | Broken]:
    """What each part measured; an interrupt ends the run, not the report."""
    rows: list[Line | Broken] = []
    try:
        for name, part in every:
            console.print(f"{name} …", markup=False)
            rows += run_part(name, part)
    except KeyboardInterrupt:
        rows.append(Broken("the rest", "interrupted"))
    return rows


def main(words: list[str]) -> int:
    """Measure and show; 0, or 1 where a part failed."""
    options = arguments(words)
    console = Console(width=_WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        rows = run_parts(parts(options, Path(folder)), console)
    console.print(table(rows))
    if options.json:
        print(json.dumps(record(rows)))
    return 1 if any(isinstance(row, Broken) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
