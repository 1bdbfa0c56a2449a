"""With an API token, the pages open for who shows it once, and for nobody else."""

import pytest
from pydantic import SecretStr

from support.ledger_service import Document, kept_service, page
from support.running_service import until

TOKEN = "correct-horse.battery~staple_1"
FORM = {"token": TOKEN}
SITE = "Sec-Fetch-Site"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    with kept_service(folder, api_token=SecretStr(TOKEN)) as client:
        yield client


@pytest.fixture
def closed(service):
    service.cookies.clear()
    return service


def led_to(response):
    assert response.status_code == 303
    return response.headers["location"]


def assert_form(response):
    """The form, as the answer to a wrong token."""
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert response.headers["referrer-policy"] == "no-referrer"
    seen = Document(response.text)
    assert "not the token" in seen.text
    return seen


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/ui", "ui/login"),
        ("/ui/", "login"),
        ("/ui/run?run=a%2Fb&show=failed", "login?to=run%3Frun%3Da%252Fb%26show%3Dfailed"),
        ("/ui/a/b", "../login"),
    ],
)
def test_who_has_no_token_is_sent_to_the_form(closed, address, form):
    assert led_to(closed.get(address)) == form
    for loaded in ("/ui/login", "/ui/assets/pages.css"):
        assert closed.get(loaded).status_code == 200


def test_the_token_in_the_form_opens_the_pages_and_nothing_else(closed):
    response = closed.post("/ui/login", data=FORM)
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age=43200" in cookie
    assert "path" not in cookie.lower()  # the browser takes the folder, behind any prefix
    assert TOKEN not in cookie
    assert "No rollouts yet" in page(closed, "").text
    assert closed.post("/v1/score", json={}).status_code == 401
    assert closed.get("/v1/rubrics").status_code == 401


def test_who_logs_out_is_asked_again(closed):
    assert "Log out" not in closed.get("/ui/login").text
    closed.post("/ui/login", data=FORM)
    (form,) = page(closed, "").all("form")
    assert led_to(closed.post(f"/ui/{form.attributes['action']}")) == "login"
    assert not closed.cookies
    assert led_to(closed.get("/ui/")) == "login"


def test_a_pass_expires_and_cannot_be_made_to_last(closed, tmp_path):
    value = closed.post("/ui/login", data=FORM).cookies["citemark_pages"]
    until_s, _, signed = value.partition(".")
    closed.cookies.clear()
    for given, status in ((value, 200), (f"{int(until_s) + 99}.{signed}", 303)):
        headers = {"Cookie": f"other=1; citemark_pages={given}"}
        assert closed.get("/ui/", headers=headers).status_code == status
    with kept_service(tmp_path, api_token=SecretStr(TOKEN), page_login_s=1) as client:
        value = client.post("/ui/login", data=FORM).cookies["citemark_pages"]
        headers = {"Cookie": f"citemark_pages={value}"}
        until(lambda: client.get("/ui/", headers=headers).status_code == 303)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], "x" * 10_000, "👍"])
def test_another_token_opens_nothing(closed, token):
    assert_form(closed.post("/ui/login", data={"token": token}))


def test_neither_a_flood_nor_a_forged_cookie_nor_another_site_opens_anything(closed):
    assert closed.post("/ui/login", content=b"x" * 100_000).status_code == 413
    for value in ("", TOKEN, "0" * 64, '"', "a;b=c"):
        assert led_to(closed.get("/ui/", headers={"Cookie": f"citemark_pages={value}"}))
    response = closed.post("/ui/login", data=FORM, headers={SITE: "cross-site"})
    assert "set-cookie" not in response.headers


def test_every_other_way_to_send_the_token_holds(closed):
    assert closed.get("/ui/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert closed.post(f"/ui/score?token={TOKEN}", data={"rollout": "{"}).status_code == 422
    assert closed.get(f"/t/{TOKEN}/ui/").status_code == 200
    assert closed.get(f"/t/{TOKEN}/ui/score").status_code == 200
    assert closed.get("/t/wrong/ui/").status_code == 401
    assert closed.get("/ui/", headers={"X-Api-Key": "wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/ui/?token=TOKEN", "./"),
        ("/ui/run?run=a%2Fb&token=TOKEN&show=failed", "./run?run=a%2Fb&show=failed"),
        ("/ui/score?token=wrong&token=TOKEN", "./score"),
        ("/ui/https:evil.example?token=TOKEN", "./https:evil.example"),
        ("/ui//evil.example?token=TOKEN", "../?token=TOKEN"),
        ("/ui?token=TOKEN", "ui/?token=TOKEN"),
        ("/ui/?token=" + "".join(f"%{ord(each):02X}" for each in TOKEN), "./"),
    ],
)
def test_a_token_in_the_address_is_taken_out_of_it(closed, address, place):
    response = closed.get(address.replace("TOKEN", TOKEN))
    assert led_to(response) == place.replace("TOKEN", TOKEN)
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["/ui", "/ui/", "/ui/a/b"])
def test_an_address_with_the_token_opens_the_pages_as_the_form_does(closed, address):
    response = closed.get(f"{address}?token={TOKEN}", follow_redirects=True)
    assert response.status_code == 200
    assert TOKEN not in f"{response.url} {response.text}"
    assert response.history[-1].headers["set-cookie"].startswith("citemark_pages=")
    assert "No rollouts yet" in page(closed, "").text


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], "%00", "%F0%9F%91%8D", "a&token=b"])
@pytest.mark.parametrize(("place", "form"), [("", "ui/login"), ("/", "login"), ("/a/", "../login")])
def test_another_token_in_the_address_is_answered_with_the_form(closed, given, place, form):
    seen = assert_form(closed.get(f"/ui{place}?token={given}"))
    assert seen.all("form")[0].attributes["action"] == form


def test_what_is_no_page_for_a_browser_is_refused_as_it_was(closed):
    for answer in (
        closed.post("/ui/score?token=wrong", data={"rollout": "{"}),
        closed.get("/ui/?token=wrong", headers={"Authorization": "Bearer wrong"}),
        closed.get("/v1/rubrics?token=wrong"),
    ):
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("address", ["/ui/run?run=a%2Fb", "/ui/rollout?n=1&token=wrong"])
def test_the_form_leads_on_to_the_page_that_was_asked_for(closed, address):
    form = Document(closed.get(address, follow_redirects=True).text)
    fields = {each.attributes["name"]: each.attributes.get("value") for each in form.all("input")}
    again = assert_form(closed.post("/ui/login", data={**fields, "token": "wrong"}))
    assert fields["to"] in [each.attributes.get("value") for each in again.all("input")]
    place = led_to(closed.post("/ui/login", data={**fields, **FORM}))
    assert f"/ui/{place.removeprefix('./')}" == address.partition("&token")[0]


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/evil", "https://evil.example", "https:evil.example", "../v1/rubrics",
     "javascript:alert(1)", "\\\\evil.example", "run\r\nSet-Cookie: a=b", "login",
     "login?to=login", "run?" + "a" * 5_000, "run#x", "rün"],
)  # fmt: skip
def test_the_form_leads_nowhere_else(closed, wanted):
    assert led_to(closed.post("/ui/login", data={**FORM, "to": wanted})) == "./"


def test_who_follows_a_link_of_another_site_asks_once_more_from_this_one(closed):
    response = closed.get("/ui/rollout?n=1", headers={SITE: "cross-site"})
    assert response.headers["refresh"] == "0"
    assert "content-security-policy" in response.headers
    for site in ("same-origin", "same-site", "none"):
        assert led_to(closed.get("/ui/rollout?n=1", headers={SITE: site}))


def test_without_a_token_there_is_no_form(pages):
    assert led_to(pages.get("/ui/login")) == "./"
    assert led_to(pages.post("/ui/login", data={"token": "a"})) == "./"


def test_the_documentation_loads_nothing_from_elsewhere(closed):
    response = closed.get("/docs")
    policy = closed.get("/ui/login").headers["content-security-policy"]
    assert response.headers["content-security-policy"] == policy
    seen = Document(response.text)
    loaded = [each.attributes.get("src") or each.attributes.get("href") for each in seen.elements]
    assert {each for each in loaded if each} == {
        "#main", "openapi.json", "ui/./", "ui/score",
        "ui/assets/mark.svg", "ui/assets/pages.css", "ui/assets/keys.js",
    }  # fmt: skip
    assert not [each for each in seen.all("script") if each.text.strip()]
    for path in closed.get("/openapi.json").json()["paths"]:
        assert f" {path}" in seen.text
