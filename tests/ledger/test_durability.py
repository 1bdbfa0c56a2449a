"""The whole service killed in the middle of a step: what was answered is in the ledger."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
from sqlalchemy import select

from citemark_service.ledger.database import open_engine
from citemark_service.ledger.tables import rollouts, steps
from support.examples import EXAMPLE_ROWS
from support.running_service import until
from support.service_process import service_process

_KILL_AFTER = 60


def test_every_acknowledged_reward_survives_a_kill(tmp_path):
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    acknowledged: dict[str, float] = {}

    def post(client: httpx.Client, worker: int) -> None:
        with suppress(httpx.HTTPError):
            for count in range(1000):
                row = EXAMPLE_ROWS[(worker + count) % len(EXAMPLE_ROWS)]
                sample = {**row, "id": f"{worker}-{count}"}
                body = {"items": [sample], "run": "killed", "step": 7}
                answer = client.post("/v1/score", json=body).json()
                acknowledged[sample["id"]] = answer["items"][0]["reward"]

    with service_process(tmp_path, ledger=ledger) as service, ThreadPoolExecutor(4) as pool:
        posting = [pool.submit(post, service.client, number) for number in range(4)]
        until(lambda: len(acknowledged) >= _KILL_AFTER)
        service.popen.kill()
    assert [each.result() for each in posting] == [None] * 4

    engine = open_engine(ledger)
    with engine.connect() as connection:
        kept = dict(connection.execute(select(rollouts.c.sample_id, rollouts.c.reward)).all())
        step = connection.execute(select(steps)).one()
    engine.dispose()
    assert acknowledged.items() <= kept.items()
    assert (step.run, step.step, step.rollouts) == ("killed", 7, len(kept))
