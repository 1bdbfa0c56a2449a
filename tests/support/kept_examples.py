"""The example rollouts, scored by the embedded judge and kept in a ledger."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import Origin
from citemark_service.ledger.ledger import ledger_of
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.command_line import EXAMPLES

EXAMPLE_ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (EXAMPLES / "rollouts.jsonl").read_text().splitlines()
]


def keep_examples(
    address: str, *, run: str = "demo", step: Callable[[int], int] = lambda _: 1, **fields: Any
) -> None:
    """Keep all 16, each as the step that `step` gives for its place, with `fields` of its own."""

    async def keep() -> None:
        settings = Settings(ledger=address)
        ledger = ledger_of(settings, Metrics())
        assert ledger is not None
        async with ledger:
            pipeline = Pipeline(
                judge=EmbeddedJudge(),
                library=load_library(),
                settings=settings,
                metrics=Metrics(),
                keep=ledger.keep,
            )
            for place, row in enumerate(EXAMPLE_ROWS):
                await pipeline.score(
                    Rollout.model_validate({**row, **fields}),
                    request=Knobs(),
                    position=0,
                    deadline=None,
                    origin=Origin(run=run, step=step(place)),
                )

    asyncio.run(keep())
