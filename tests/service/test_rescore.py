"""`POST /v1/rescore`: kept rewards under other knobs, over a real socket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from citemark_schemas import RescoreResponse
from citemark_service.ledger.database import open_engine
from support.examples import EXAMPLE_ROWS as ROWS
from support.ledger_service import kept_service, score


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with kept_service(folder) as client:
        for step in (1, 2):
            score(client, ROWS[8 * step - 8 : 8 * step], run="demo", step=step)
        yield client


def rescored(client: httpx.Client, **body: Any) -> RescoreResponse:
    answer = client.post("/v1/rescore", json=body)
    assert answer.status_code == 200, answer.text
    return RescoreResponse.model_validate_json(answer.content)


def test_nothing_changed_changes_nothing(client):
    found = rescored(client)
    assert (found.rollouts, found.complete, found.left_out) == (16, True, ())
    assert found.mean_new == found.mean_old
    assert found.reordered == found.turned == found.new_best == 0
    assert [(step.run, step.step, step.rollouts) for step in found.steps] == [
        ("demo", 1, 8),
        ("demo", 2, 8),
    ]


def test_rewards_are_those_that_scoring_under_the_knobs_gives(client):
    found = rescored(client, citation_weight=3.0, verification_reward=10.0, step=2, moves=100)
    anew = score(client, ROWS[8:], citation_weight=3.0, verification_reward=10.0)
    wanted = {result["id"]: result["reward"] for result in anew}
    assert {move.id: move.new for move in found.moves} == pytest.approx(wanted)
    assert {move.step for move in found.moves} == {2}


def test_a_limit_takes_the_latest_and_says_so(client):
    found = rescored(client, run="demo", limit=5)
    assert (found.rollouts, found.complete) == (5, False)
    assert {step.step for step in found.steps} == {2}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"run": "unknown"}, "of run 'unknown'"),
        ({"run": "demo", "step": 99}, "of run 'demo' of step 99"),
        ({"group": "none"}, "of group 'none'"),
    ],
)
def test_a_place_where_nothing_is_kept_is_named(client, body, named):
    answer = client.post("/v1/rescore", json=body)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_kept")
    assert answer.json()["message"] == f"no rollout is kept {named}"


def test_a_title_that_is_not_there_is_answered_with_those_that_are(client):
    answer = client.post("/v1/rescore", json={"weights": {"Nothing": 1}})
    (detail,) = answer.json()["details"]
    _, _, there = detail["message"].partition("there are: ")
    assert there.startswith("Citation Discipline; ")  # the most common come first
    assert there.endswith(" more") or len(there.split("; ")) < 20


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"citation_weight": -1}, "citation_weight"),
        ({"weights": {"Citation Discipline": -1}}, "weights.Citation Discipline"),
        ({"weights": {"Nothing": 1}}, "weights.Nothing"),
        ({"limit": 10**9}, "limit"),
        ({"citation_wieght": 1}, "citation_wieght"),
        ({"step": "last"}, "step"),
        ([], "body"),
    ],
)
def test_a_bad_field_is_named(client, body, place):
    answer = client.post("/v1/rescore", json=body)
    assert answer.status_code == 422
    assert answer.json()["details"][0]["loc"] == place


def test_a_body_of_megabytes_is_refused(client):
    answer = client.post("/v1/rescore", content=b" " * 2**20)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_without_a_ledger_there_is_nothing_to_rescore(service):
    answer = service.post({}, "/v1/rescore")
    assert (answer.status_code, answer.json()["error"]) == (404, "ledger_off")


async def test_one_at_a_time_and_rewards_go_on(client):
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60.0) as many:
        posts = [many.post("/v1/rescore", json={"moves": 1}) for _ in range(6)]
        *compared, scored = await asyncio.gather(*posts, many.post("/v1/score", json=ROWS[0]))
    statuses = [answer.status_code for answer in compared]
    assert set(statuses) <= {200, 429}
    assert 200 in statuses
    assert scored.json()["reward"] is not None
    assert scored.json()["id"] == ROWS[0]["id"]


def test_a_ledger_that_cannot_be_read_is_a_moment_and_no_defect(client, folder):
    engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE prompts RENAME TO elsewhere")
    answer = client.post("/v1/rescore", json={})
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO prompts")
    engine.dispose()
    assert (answer.status_code, answer.json()["error"]) == (503, "ledger_unavailable")
    assert "Retry-After" in answer.headers
