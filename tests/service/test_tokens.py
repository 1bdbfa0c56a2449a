"""The API token: every way to send it, what stays open, and that nothing ever repeats it."""

import logging
import re
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from citemark_schemas import Knobs, Problem
from citemark_service.errors import SettingsError
from citemark_service.settings import Settings, load_settings
from support.running_service import Running, begin, until

TOKEN = "correct-horse.battery~staple_1"
WRONG = "wrong-horse.battery~staple_1"

WAYS = {
    "bearer": ("/v1/score", {"Authorization": f"Bearer {TOKEN}"}),
    "bearer in lower case": ("/v1/score", {"Authorization": f"bearer  {TOKEN}"}),
    "key": ("/v1/score", {"X-Api-Key": TOKEN}),
    "query": (f"/v1/score?token={TOKEN}", {}),
    "query among others": (f"/v1/score?citation_weight=0.5&token={TOKEN}&deadline_s=9", {}),
    "escaped query": ("/v1/score?token=" + "".join(f"%{ord(each):02x}" for each in TOKEN), {}),
    "path": (f"/t/{TOKEN}/v1/score", {}),
    "path before a slash": (f"/t/{TOKEN}/v1/score/", {}),
    "query behind a slash": (f"/v1/score/?token={TOKEN}", {}),
    "path beside a key of the client's own": (f"/t/{TOKEN}/v1/score", {"X-Api-Key": "other"}),
    "query beside a bearer of the client's own": (
        f"/v1/score?token={TOKEN}",
        {"Authorization": "Bearer other"},
    ),
}

REFUSED = {
    "nothing": ("/v1/score", {}),
    "wrong bearer": ("/v1/score", {"Authorization": f"Bearer {WRONG}"}),
    "another scheme": ("/v1/score", {"Authorization": f"Basic {TOKEN}"}),
    "wrong key": ("/v1/score", {"X-Api-Key": WRONG}),
    "an empty key": ("/v1/score", {"X-Api-Key": ""}),
    "wrong query": (f"/v1/score?token={WRONG}", {}),
    "a longer one": (f"/v1/score?token={TOKEN}x", {}),
    "the beginning of it": (f"/v1/score?token={TOKEN[:-1]}", {}),
    "no value": ("/v1/score?token", {}),
    "wrong path": (f"/t/{WRONG}/v1/score", {}),
    "an empty path": ("/t//v1/score", {}),
}

MISPLACED = {
    "another parameter": (f"/v1/score?tokens={TOKEN}", {}),
    "the token as the path": (f"/{TOKEN}/v1/score", {}),
    "another header": ("/v1/score", {"Token": TOKEN}),
}


def has_token(text: str) -> bool:
    return TOKEN in text or WRONG in text


@pytest.fixture(scope="module")
def closed() -> Iterator[Running]:
    with begin(api_token=SecretStr(TOKEN)) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_every_way_lets_in_who_knows_the_token(closed, rollout, way):
    path, headers = WAYS[way]
    response = closed.post(rollout(), path, headers=headers)
    assert response.status_code == 200
    assert response.json()["reward"] is not None
    weight = 0.5 if "citation_weight" in path else Knobs().citation_weight
    assert response.json()["knobs"]["citation_weight"] == weight


@pytest.mark.parametrize("way", [*REFUSED, *MISPLACED])
def test_who_does_not_know_it_is_told_how_to_send_it(closed, rollout, way):
    closed.judge.forget()
    path, headers = {**REFUSED, **MISPLACED}[way]
    response = closed.post(rollout(), path, headers=headers)
    assert response.status_code == 401
    problem = Problem.model_validate_json(response.content)
    assert problem.error == "unauthorized"
    for hint in ("Authorization: Bearer", "X-Api-Key", "?token=", "/t/"):
        assert hint in problem.message
    assert response.headers["www-authenticate"].startswith('Bearer realm="citemark"')
    assert not has_token(response.text + str(response.headers))
    assert closed.judge.started == []


@pytest.mark.parametrize(
    ("status", "method", "paths"),
    [
        (401, "POST", ["/v1/score/stream", "/v1/rescore", "/", "/rm", "/verify"]),
        (401, "GET", ["/v1/rubrics", "/nowhere"]),
        (200, "GET", ["/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"]),
        (200, "GET", [f"/t/{TOKEN}/readyz", f"/t/{TOKEN}/v1/rubrics"]),
    ],
)
def test_what_is_not_said_to_be_open_is_closed(closed, status, method, paths):
    assert {closed.client.request(method, path).status_code for path in paths} == {status}


def test_without_a_token_tokens_are_ignored(service, rollout):
    for path in ("/t/whatever/v1/score?token=whatever", "/t//v1/score?token", "/v1/score?token="):
        assert service.post(rollout(), path).status_code == 200


def test_a_client_that_still_uploads_reads_why_it_was_refused(closed):
    with closed.connect() as raw:
        raw.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
        raw.sendall(b"x" * 100)
        assert raw.recv(65536).startswith(b"HTTP/1.1 401 ")
        raw.sendall(b"x" * 2_999_900)  # a reset would raise here or in the next line
        while raw.recv(65536):
            pass


@pytest.mark.parametrize("way", [*WAYS, *REFUSED])
def test_no_log_line_and_no_metric_has_a_token(closed, rollout, caplog, way):
    for logger in ("httpx", "httpcore"):  # the client's own, which tells its URL
        caplog.set_level(logging.WARNING, logger)
    caplog.set_level(logging.DEBUG)  # last, because each sets the handler's level too
    path, headers = {**WAYS, **REFUSED}[way]
    closed.post(rollout(), path, headers=headers)
    closed.post(b"not json", path, headers=headers)
    closed.post(rollout(), f"{path}&no_knob=1" if "?" in path else path, headers=headers)
    closed.client.post(path.replace("/v1/score", "/nowhere"), headers=headers)
    until(lambda: caplog.text.count("route=") >= 4)  # a line is written after its answer
    told = caplog.text + closed.client.get("/metrics").text
    assert not has_token(told)


def test_routes_keep_their_names_in_the_metrics(closed, rollout):
    closed.post(rollout(), f"/t/{TOKEN}/v1/score")
    closed.post(rollout())
    seen = closed.client.get("/metrics").text
    routes = set(re.findall(r'citemark_requests_total{route="([^"]*)",status="(?:200|401)"}', seen))
    assert {"/v1/score", "unmatched"} <= routes
    assert not any("/t/" in route for route in routes)


@pytest.mark.parametrize(
    "token",
    ["", "of-15-characters"[:15], "a/b" * 9, "with blanks in it all", "äöü" * 9, "a+b=" * 9],
)
def test_a_token_that_fits_in_no_url_or_can_be_guessed_is_refused_at_the_start(monkeypatch, token):
    monkeypatch.setenv("CITEMARK_API_TOKEN", token)
    with pytest.raises(SettingsError, match="api_token") as raised:
        load_settings()
    assert not token or token not in str(raised.value)
    assert TOKEN not in repr(Settings(api_token=SecretStr(TOKEN)))


def test_who_guesses_is_not_heard_for_a_while(start):
    service = start(api_token=SecretStr(TOKEN), max_wrong_tokens=5)
    ways = [{"headers": {"X-Api-Key": WRONG}}, {"params": {"token": WRONG}}]
    guesses = [service.client.post("/rm", **ways[number % 2]) for number in range(5)]
    guesses += [service.client.get(f"/ui/?token={WRONG}"), service.client.post("/rm", **ways[0])]
    guesses += [service.client.post("/ui/login", data={"token": WRONG})]
    right = service.client.post("/rm", headers={"X-Api-Key": TOKEN})
    assert [each.status_code for each in (*guesses, right)] == [401] * 5 + [429] * 4
    assert right.headers["retry-after"] == "60"
    assert service.client.post("/rm").status_code == 401  # with none, how to send it
    assert service.client.get("/healthz", params={"token": WRONG}).status_code == 200


def test_who_shares_an_address_with_one_that_guesses_is_heard(start, rollout):
    service = start(api_token=SecretStr(TOKEN), max_wrong_tokens=1)
    for token, status in ((TOKEN, 200), (WRONG, 401), (WRONG, 401), (TOKEN, 200)):
        assert service.post(rollout(), headers={"X-Api-Key": token}).status_code == status


def test_hostile_paths_and_queries_cost_little(closed):
    for path in ("/t/" * 10_000, "/?" + "token=x&" * 5_000, "/t/%ff%fe/v1/score?token=%ff"):
        try:
            assert closed.client.post(path).status_code == 401
        except httpx.RemoteProtocolError:  # longer than the server reads
            continue
