"""The whole service killed in the middle of a step: what was answered is in the ledger."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import httpx
import pytest
from sqlalchemy import select

from citemark_service.ledger.database import open_engine
from citemark_service.ledger.tables import rollouts, steps
from support.examples import EXAMPLE_ROWS
from support.running_service import until

_KILL_AFTER = 60


@pytest.fixture
def service(tmp_path):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CITEMARK_")},
        "CITEMARK_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    command = [sys.executable, "-m", "citemark_service", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process, closing(process.stderr):
        line = next(line for line in process.stderr if "serving on" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, line.split("serving on ")[1].split()[0], tmp_path / "ledger.db"
        process.kill()


def test_every_acknowledged_reward_survives_a_kill(service):
    process, url, path = service
    acknowledged: dict[str, float] = {}

    def post(worker: int) -> None:
        with httpx.Client(base_url=url, timeout=20.0) as client, suppress(httpx.HTTPError):
            for count in range(1000):
                row = EXAMPLE_ROWS[(worker + count) % len(EXAMPLE_ROWS)]
                sample = {**row, "id": f"{worker}-{count}"}
                body = {"items": [sample], "run": "killed", "step": 7}
                answer = client.post("/v1/score", json=body).json()
                acknowledged[sample["id"]] = answer["items"][0]["reward"]

    with ThreadPoolExecutor(4) as pool:
        posting = [pool.submit(post, number) for number in range(4)]
        until(lambda: len(acknowledged) >= _KILL_AFTER)
        process.kill()
    assert [each.result() for each in posting] == [None] * 4

    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        kept = dict(connection.execute(select(rollouts.c.sample_id, rollouts.c.reward)).all())
        step = connection.execute(select(steps)).one()
    engine.dispose()
    assert acknowledged.items() <= kept.items()
    assert (step.run, step.step, step.rollouts) == ("killed", 7, len(kept))
