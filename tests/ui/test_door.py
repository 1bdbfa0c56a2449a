"""With an API token, the pages open for who shows it once, and for nobody else."""

import pytest
from pydantic import SecretStr

from ledger_service import document, kept_service, page

TOKEN = "correct-horse.battery~staple_1"


@pytest.fixture
def closed(tmp_path):
    with kept_service(tmp_path, api_token=SecretStr(TOKEN)) as client:
        yield client


def test_who_has_no_token_is_sent_to_the_form(closed):
    for address, form in (("/ui", "ui/login"), ("/ui/", "login"), ("/ui/run?run=a", "login")):
        response = closed.get(address)
        assert response.status_code == 303
        assert response.headers["location"] == form
    assert closed.get("/ui/login").status_code == 200
    assert closed.get("/ui/assets/pages.css").status_code == 200


def test_the_token_in_the_form_opens_the_pages_and_nothing_else(closed):
    response = closed.post("/ui/login", data={"token": TOKEN})
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "path" not in cookie.lower()  # the browser takes the folder, behind any prefix
    assert TOKEN not in cookie
    assert "No rollouts yet" in page(closed, "").text
    assert closed.post("/v1/score", json={}).status_code == 401
    assert closed.get("/v1/rubrics").status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], "x" * 10_000, "👍"])
def test_another_token_opens_nothing(closed, token):
    response = closed.post("/ui/login", data={"token": token})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert "not the token" in document(response.text).text


def test_a_body_that_is_no_form_is_refused(closed):
    assert closed.post("/ui/login", content=b"x" * 100_000).status_code == 413


def test_a_forged_cookie_opens_nothing(closed):
    for value in ("", TOKEN, "0" * 64, '"', "a;b=c"):
        response = closed.get("/ui/", headers={"Cookie": f"citemark_pages={value}"})
        assert response.status_code == 303


def test_no_other_site_can_send_the_form(closed):
    headers = {"Sec-Fetch-Site": "cross-site"}
    response = closed.post("/ui/login", data={"token": TOKEN}, headers=headers)
    assert "set-cookie" not in response.headers


def test_every_other_way_to_send_the_token_holds(closed):
    assert closed.get("/ui/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert closed.get(f"/ui/?token={TOKEN}").status_code == 200
    assert closed.get(f"/t/{TOKEN}/ui/").status_code == 200
    assert closed.get(f"/t/{TOKEN}/ui/score").status_code == 200
    assert closed.get("/t/wrong/ui/").status_code == 401
    assert closed.get("/ui/", headers={"X-Api-Key": "wrong"}).status_code == 401


def test_without_a_token_there_is_no_form(tmp_path):
    with kept_service(tmp_path) as client:
        assert client.get("/ui/login").headers["location"] == "./"
        assert client.post("/ui/login", data={"token": "a"}).headers["location"] == "./"
