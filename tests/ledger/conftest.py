"""Entries as a step makes them, and a ledger in each kind of database."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from citemark_service.ledger.database import open_engine
from citemark_service.score.rollout import ScoredRollout
from support.examples import ROLLOUTS, score_one
from support.postgres_server import running_server
from support.readable_metrics import ReadableMetrics

MakeEntry = Callable[..., ScoredRollout]
"""`make(3, run="a", step=1, at=5.0)`: the third example, scored, under its own id."""


@pytest.fixture(scope="session")
def make() -> MakeEntry:
    examples = [(rollout, score_one(rollout)) for rollout in ROLLOUTS]

    def entry(
        index: int, *, run=None, step=None, at=1000.0, group=None, position=0, **result
    ) -> ScoredRollout:
        rollout, scored = examples[index % len(examples)]
        rollout = rollout.model_copy(update={"group": group})
        scored = scored.model_copy(update=result)
        return ScoredRollout(rollout, scored, run, step, at, position=position)

    return entry


class Counts(ReadableMetrics):
    @property
    def written(self) -> float | None:
        return self.sample("ledger_rollouts_total", outcome="kept")

    @property
    def lost(self) -> float | None:
        return self.sample("ledger_rollouts_total", outcome="lost")


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server that all tests share; each cleans up what it wrote."""
    with running_server() as server:
        yield server.address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path) -> Iterator[str]:
    """Of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    address = request.getfixturevalue("postgres")
    yield address
    engine = open_engine(address)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture
def engine(address) -> Iterator[Engine]:
    engine = open_engine(address)
    yield engine
    engine.dispose()
