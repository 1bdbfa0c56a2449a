"""The whole service killed in the middle of a step: what was answered is in the ledger."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from citemark_service.ledger.database import open_engine
from citemark_service.ledger.tables import rollouts, steps

EXAMPLES = Path(__file__).parents[2] / "examples" / "rollouts.jsonl"
_KILL_AFTER = 60


@pytest.fixture
def service(tmp_path):
    """A service with a ledger of its own, as a process."""
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
    rows = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]
    acknowledged: dict[str, float] = {}
    enough = threading.Event()

    def post(worker: int) -> None:
        with httpx.Client(base_url=url, timeout=20.0) as client:
            for count in range(1000):
                row = rows[(worker + count) % len(rows)]
                sample = f"{worker}-{count}"
                try:
                    answer = client.post(
                        "/v1/score",
                        json={"items": [{**row, "id": sample}], "run": "killed", "step": 7},
                    )
                except httpx.HTTPError:
                    return
                acknowledged[sample] = answer.json()["items"][0]["reward"]
                if len(acknowledged) >= _KILL_AFTER:
                    enough.set()

    workers = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    assert enough.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    for worker in workers:
        worker.join(30)

    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        kept = dict(connection.execute(select(rollouts.c.sample_id, rollouts.c.reward)).all())
        step = connection.execute(select(steps)).one()
    engine.dispose()
    assert acknowledged.items() <= kept.items()
    assert (step.run, step.step, step.rollouts) == ("killed", 7, len(kept))
