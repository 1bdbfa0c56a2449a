"""The example rollouts, scored by the embedded judge and kept in a ledger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.command_line import EXAMPLES
from support.ledger_service import kept_service, score

EXAMPLE_ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (EXAMPLES / "rollouts.jsonl").read_text().splitlines()
]


def keep_examples(
    address: str, *, run: str = "demo", step: Callable[[int], int] = lambda _: 1, **fields: Any
) -> None:
    """Keep all 16, each as the step that `step` gives for its place, with `fields` of its own."""
    with kept_service(Path(), ledger=address) as client:
        for place, row in enumerate(EXAMPLE_ROWS):
            score(client, [{**row, **fields}], run=run, step=step(place))
