"""The repository's example rollouts, and data that people labelled."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import Judge
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.command_line import EXAMPLES
from support.ledger_service import kept_service, score

_LABELLED = Path(__file__).parents[3] / "shared" / "data"


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


EXAMPLE_ROWS = read_rows(EXAMPLES / "rollouts.jsonl")
ROLLOUTS = [Rollout.model_validate(row) for row in EXAMPLE_ROWS]
LIBRARY = load_library()
EMBEDDED = EmbeddedJudge()


def score_one(rollout: Rollout, knobs: Knobs | None = None, judge: Judge = EMBEDDED) -> ScoreResult:
    """Score outside any event loop, with the default settings and this judge."""
    pipeline = Pipeline(judge=judge, library=LIBRARY, settings=Settings(), metrics=Metrics())
    return asyncio.run(pipeline.score(rollout, request=knobs or Knobs(), position=0, deadline=None))


def keep_examples(
    address: str, *, run: str = "demo", step: Callable[[int], int] = lambda _: 1, **fields: Any
) -> None:
    """Keep all 16, each as the step that `step` gives for its place, with `fields` of its own."""
    with kept_service(Path(), ledger=address) as client:
        for place, row in enumerate(EXAMPLE_ROWS):
            score(client, [{**row, **fields}], run=run, step=step(place))


def labelled_file(name: str) -> Path:
    """A file of the labelled data, which tests read where it lies; they skip where it is absent."""
    if not (_LABELLED / name).is_file():
        pytest.skip(f"no labelled data: {name} is not in ../shared/data")
    return _LABELLED / name


def labelled_rows(name: str) -> list[dict[str, Any]]:
    return read_rows(labelled_file(name))
