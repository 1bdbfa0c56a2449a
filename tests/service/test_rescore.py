"""`POST /v1/rescore`: kept rewards under other knobs, over a real socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from citemark_rubrics import load_library
from citemark_schemas import RescoreResponse, Rollout, ScoreResult
from citemark_service.app import create_app
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.ledger import ledger_of, ledger_view
from citemark_service.serve import server_of
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.admission import Admission
from support.running_service import Running, Start, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "rollouts.jsonl"
ROWS = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]


@contextmanager
def keeping(folder: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A service with a ledger, and the 16 examples in it as two steps of the run `demo`."""
    table = Settings(port=0, ledger=f"sqlite:///{folder / 'ledger.db'}", **settings)
    admission = Admission(table)
    app = create_app(
        settings=table,
        judge=EmbeddedJudge(),
        library=load_library(),
        admission=admission,
        ledger=ledger_of(table, Metrics()),
        view=ledger_view(table),
    )
    server = server_of(app, settings=table, admission=admission)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    token = table.api_token.get_secret_value() if table.api_token else "none"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, timeout=20.0, headers=headers) as client:
        for step in (1, 2):
            body = {"items": ROWS[8 * step - 8 : 8 * step], "run": "demo", "step": step}
            assert client.post("/v1/score", json=body).status_code == 200
        yield client
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with keeping(tmp_path_factory.mktemp("ledger")) as client:
        yield client


def rescored(client: httpx.Client, **body: Any) -> RescoreResponse:
    answer = client.post("/v1/rescore", json=body)
    assert answer.status_code == 200, answer.text
    return RescoreResponse.model_validate_json(answer.content)


def test_nothing_changed_changes_nothing(client: httpx.Client) -> None:
    found = rescored(client)
    assert (found.rollouts, found.complete, found.left_out) == (16, True, ())
    assert found.mean_new == found.mean_old
    assert found.reordered == found.turned == found.new_best == 0
    assert [(step.run, step.step, step.rollouts) for step in found.steps] == [
        ("demo", 1, 8),
        ("demo", 2, 8),
    ]


def test_rewards_are_those_that_scoring_under_the_knobs_gives(client: httpx.Client) -> None:
    found = rescored(client, citation_weight=3.0, verification_reward=10.0, step=2, moves=100)
    body = {"items": ROWS[8:], "citation_weight": 3.0, "verification_reward": 10.0}
    anew = client.post("/v1/score", json=body).json()["items"]
    wanted = {result["id"]: result["reward"] for result in anew}
    assert {move.id: move.new for move in found.moves} == pytest.approx(wanted)
    assert {move.step for move in found.moves} == {2}


def test_a_weight_moves_ranks_and_the_largest_move_comes_first(client: httpx.Client) -> None:
    found = rescored(client, weights={"Citation Discipline": 20}, run="demo", moves=3)
    sizes = [abs(move.new_rank - move.old_rank) for move in found.moves]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0
    assert found.reordered > 0


def test_what_was_not_judged_is_left_out_by_reason(client: httpx.Client) -> None:
    found = rescored(client, static_rubrics="other", run="demo")
    (left,) = found.left_out
    assert left.reason == "the static set other was not judged"
    assert left.rollouts + found.rollouts == 16


def test_a_limit_takes_the_latest_and_says_so(client: httpx.Client) -> None:
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
def test_a_place_where_nothing_is_kept_is_named(
    client: httpx.Client, body: Any, named: str
) -> None:
    answer = client.post("/v1/rescore", json=body)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_kept")
    assert answer.json()["message"] == f"no rollout is kept {named}"


def test_a_title_that_is_not_there_is_answered_with_those_that_are(client: httpx.Client) -> None:
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
def test_a_bad_field_is_named(client: httpx.Client, body: Any, place: str) -> None:
    answer = client.post("/v1/rescore", json=body)
    assert answer.status_code == 422
    assert answer.json()["details"][0]["loc"] == place


def test_a_body_of_megabytes_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/rescore", content=b" " * 2**20)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_without_a_ledger_there_is_nothing_to_rescore(start: Start) -> None:
    service: Running = start()
    answer = service.post({}, "/v1/rescore")
    assert (answer.status_code, answer.json()["error"]) == (404, "ledger_off")


def test_the_token_guards_it(tmp_path: Path) -> None:
    with keeping(tmp_path, api_token="t0ken") as client:
        assert client.post("/v1/rescore", json={}).status_code == 200
        answer = httpx.post(f"{client.base_url}/v1/rescore", json={})
        assert answer.status_code == 401


def test_a_ledger_that_cannot_be_read_is_a_moment_and_no_defect(tmp_path: Path) -> None:
    with keeping(tmp_path) as client:
        engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE prompts RENAME TO elsewhere")
        engine.dispose()
        answer = client.post("/v1/rescore", json={})
    assert (answer.status_code, answer.json()["error"]) == (503, "ledger_unavailable")
    assert "Retry-After" in answer.headers


async def test_one_at_a_time_and_rewards_go_on(tmp_path: Path) -> None:
    with keeping(tmp_path) as client:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=20.0) as many:
            posts = [many.post("/v1/rescore", json={"moves": 1}) for _ in range(6)]
            scored = many.post("/v1/score", json=ROWS[0])
            *compared, score = await asyncio.gather(*posts, scored)
    statuses = [answer.status_code for answer in compared]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 1
    assert ScoreResult.model_validate_json(score.content).reward is not None
    assert Rollout.model_validate(ROWS[0]).id == score.json()["id"]
