"""Entries as a step makes them, and a ledger in each kind of database."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.ledger.database import open_engine
from citemark_service.score.pipeline import Pipeline
from citemark_service.score.rollout import ScoredRollout
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support import postgres_server

EXAMPLES = Path(__file__).parents[2] / "examples" / "rollouts.jsonl"

MakeEntry = Callable[..., ScoredRollout]
"""`make(3, run="a", step=1, at=5.0)`: the third example, scored, under its own id."""


@pytest.fixture(scope="session")
def examples() -> list[tuple[Rollout, ScoreResult]]:
    rollouts = [
        Rollout.model_validate(json.loads(line)) for line in EXAMPLES.read_bytes().splitlines()
    ]
    pipeline = Pipeline(
        judge=EmbeddedJudge(),
        library=load_library(),
        settings=Settings(),
        metrics=Metrics(),
    )

    async def scored(rollout: Rollout) -> ScoreResult:
        return await pipeline.score(rollout, request=Knobs(), position=0, deadline=None)

    return [(rollout, asyncio.run(scored(rollout))) for rollout in rollouts]


@pytest.fixture
def make(examples) -> MakeEntry:
    def entry(
        index: int, *, run=None, step=None, at=1000.0, group=None, position=0, **result
    ) -> ScoredRollout:
        rollout, scored = examples[index % len(examples)]
        return ScoredRollout(
            rollout=rollout.model_copy(update={"group": group}),
            result=scored.model_copy(update=result),
            run=run,
            step=step,
            at=at,
            position=position,
        )

    return entry


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server that all tests share; each cleans up what it wrote."""
    programs = postgres_server.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    # Its user may not enter pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="citemark-pg-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        with postgres_server.serving(programs, Path(folder)) as address:
            yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
        yield engine
    else:
        engine = open_engine(request.getfixturevalue("postgres"))
        yield engine
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
