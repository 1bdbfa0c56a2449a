"""The example rollouts, and the pipeline that scores one as the service does."""

import asyncio
import json

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import Judge
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.command_line import EXAMPLES

ROLLOUTS = [
    Rollout.model_validate(json.loads(line))
    for line in (EXAMPLES / "rollouts.jsonl").read_text().splitlines()
]
LIBRARY = load_library()
EMBEDDED = EmbeddedJudge()
_SETTINGS, _METRICS = Settings(), Metrics()


def score_one(rollout: Rollout, knobs: Knobs | None = None, judge: Judge = EMBEDDED) -> ScoreResult:
    """Score outside any event loop, with the default settings and this judge."""
    pipeline = Pipeline(judge=judge, library=LIBRARY, settings=_SETTINGS, metrics=_METRICS)
    return asyncio.run(pipeline.score(rollout, request=knobs or Knobs(), position=0, deadline=None))
