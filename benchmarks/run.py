"""`make bench`: what the service costs, what it sends, how it keeps up, what it holds.

    make bench                        about three minutes, less without vLLM
    make bench ARGS="--soak 600"      ten minutes of memory instead of half a minute
    make bench ARGS=--million         also with a million rollouts in the ledger: minutes, 4 GB
    make bench ARGS=--json            the last line is one JSON object

Linux only: CPU time is read from the kernel's clock of another process. Run it on a machine that
does nothing else; judge, service and driver share its processors.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

import floor
import keeping
import latency
import million
import overhead
import prompts
import reading
import serving
import soak
from processes import NotStarted
from report import Report, record, table
from workload import Workload, training_step

_VLLM_GROUPS = 1
_VLLM_SNIPPET_CHARACTERS = 500
_WIDTH = 118


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--soak", type=float, default=30.0, metavar="S", help="0 skips it")
    parser.add_argument("--repetitions", type=int, default=6, metavar="N")
    parser.add_argument("--million", action="store_true", help="fill a ledger first")
    parser.add_argument("--no-vllm", action="store_true", help="skip the real vLLM")
    return parser.parse_args(words)


def measured(options: argparse.Namespace, console: Console, folder: Path) -> Report:
    """Run every part, one after the other."""
    step, stamps, repetitions = training_step(), itertools.count(1), options.repetitions
    console.print(f"{len(step.rollouts)} rollouts a step; prompts as sent …")
    requests = folder / "requests"
    answer_bytes = prompts.keep(step, next(stamps), requests)
    sent = prompts.measure(prompts.read(requests), rollouts=len(step.rollouts))
    console.print("overhead at a judge that answers at once …")
    batch, singles = overhead.measure(step, stamps, repetitions=repetitions)
    quoted, _ = overhead.measure(step, stamps, repetitions=max(1, repetitions // 2), quotes=True)
    bare = floor.measure(
        step, stamps, requests=requests, answer_bytes=answer_bytes, repetitions=repetitions
    )
    console.print("a step at 200 ms a call …")
    slow = latency.measure(step, stamps, repetitions=max(1, repetitions // 2))
    console.print("the same with a ledger and without, in turns …")
    kept = keeping.measure(step, stamps, repetitions=2 * repetitions, ledger=folder / "fresh.db")
    many, read = _among_many(options, console, step, stamps, folder)
    return Report(
        prompts=sent,
        batch=batch,
        singles=singles,
        quoted=quoted,
        floor=bare,
        latency=slow,
        keeping=kept,
        million=many,
        reading=read,
        soak=_soaked(options, console, step, stamps),
        serving=_served(options, console, stamps, folder),
    )


def _among_many(
    options: argparse.Namespace,
    console: Console,
    step: Workload,
    stamps: Iterator[int],
    folder: Path,
) -> tuple[keeping.Keeping | None, reading.Reading | None]:
    if not options.million:
        console.print("a ledger of a million: skipped; --million measures it")
        return None, None
    console.print("a ledger is filled with a million rollouts …")
    path = folder / "million.db"
    million.filled(path)
    kept = keeping.measure(step, stamps, repetitions=2 * options.repetitions, ledger=path)
    return kept, reading.measure(step, stamps, repetitions=options.repetitions, ledger=path)


def _soaked(
    options: argparse.Namespace, console: Console, step: Workload, stamps: Iterator[int]
) -> soak.Soak | None:
    if not options.soak:
        console.print("memory: skipped, as asked")
        return None
    console.print(f"memory over {options.soak:.0f} s …")
    return soak.measure(step, stamps, seconds=options.soak)


def _served(
    options: argparse.Namespace, console: Console, stamps: Iterator[int], folder: Path
) -> serving.Serving | None:
    if options.no_vllm:
        console.print("vLLM: skipped, as asked")
        return None
    console.print("a group against a real vLLM on the CPU …")
    step = training_step(prompts=_VLLM_GROUPS, snippet_characters=_VLLM_SNIPPET_CHARACTERS)
    try:
        return serving.measure(step, stamps, folder=folder)
    except NotStarted as error:
        console.print(f"vLLM: skipped: {error}", markup=False)
        return None


def main(words: list[str]) -> None:
    """Measure and show."""
    options = arguments(words)
    console = Console(width=_WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        report = measured(options, console, Path(folder))
    console.print(table(report))
    if options.json:
        print(json.dumps(record(report)))


if __name__ == "__main__":
    main(sys.argv[1:])
