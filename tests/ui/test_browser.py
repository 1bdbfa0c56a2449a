"""The pages in a real Chromium: what they run, load, show and take from a keyboard.

`make test-ui` runs these; screenshots of every page stand in `artifacts/ui` afterwards.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from support.ledger_service import kept_service, page, score

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHOTS = Path(__file__).parents[2] / "artifacts" / "ui"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
TOKEN = "open-sesame_open_1"
_LOWEST_CONTRAST = Path(__file__).with_name("contrast.js").read_text()

_SIZES = (
    "all => all.map((each) => each.getBoundingClientRect()).map((box) => [box.width, box.height])"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="make test-ui installs it")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def opened(chromium, **options) -> Iterator[Any]:
    context = chromium.new_context(**options)
    yield context.new_page()
    context.close()


@contextmanager
def watched(chromium, look="light", **options) -> Iterator[Any]:
    """A tab in which nothing may complain, pop up or leave this machine."""
    faults: list[str] = []

    def loopback(route):
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
            return
        faults.append(f"asked for {route.request.url}")
        route.abort()

    def popped(dialog):
        faults.append(dialog.message)
        dialog.dismiss()

    with opened(chromium, **LOOKS[look], **options) as tab:
        tab.context.route("**/*", loopback)
        tab.on("console", lambda told: faults.append(told.text) if told.type != "log" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("dialog", popped)
        yield tab
    assert faults == []


@pytest.fixture(scope="module")
def addresses(pages) -> dict[str, str]:
    step = page(pages, "step?run=demo&step=1")
    links = {a.text: a.attributes["href"] for a in step.all("a")}
    rollout = links["cycle-lane-padded"]
    shown = ("failed", "citation", "siblings", "addressed")
    return {
        "runs": "",
        "run": "run?run=demo",
        **{name: f"run?run=demo&show={name}" for name in shown},
        "step": "step?run=demo&step=1",
        "group": next(link for link in step.links if link.startswith("group?")),
        "rollout": rollout,
        "invented": links["cycle-lane-invented"],
        "refused": links["broker-bug-empty"],
        "judge": rollout.replace("rollout", "judge"),
        "score": "score",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_shown_legibly_without_a_complaint(chromium, pages, addresses, look):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with watched(chromium, look) as tab:
        for name, address in addresses.items():
            tab.goto(f"{pages.base_url}/ui/{address}", wait_until="load")
            tab.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=True)
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= LOOKS[look]["viewport"]["width"], name
            ratio, element = tab.evaluate(_LOWEST_CONTRAST)
            assert ratio >= 4.5, f"{name}: {element}"  # WCAG 2.2, 1.4.3


def test_hostile_text_runs_nothing_and_loads_nothing(chromium, pages, attacked):
    with watched(chromium) as tab:
        for address, _ in attacked:
            tab.goto(f"{pages.base_url}/ui/{address}")
            assert "owned" not in tab.title().split("'")[0]
            assert tab.title().endswith("Citemark")
            for each in tab.locator("summary").all():
                each.click()
        tab.screenshot(path=SHOTS / "hostile-light.png", full_page=True)


def test_the_policy_stops_a_script_that_came_through(chromium, pages):
    attack = "<img src=x onerror='document.title = 1'>"
    insert = "html => document.body.insertAdjacentHTML('beforeend', html)"
    with opened(chromium) as tab:
        tab.goto(f"{pages.base_url}/ui/")
        with tab.expect_console_message(lambda told: "Content Security Policy" in told.text):
            tab.evaluate(insert, attack)
        assert tab.title() != "1"


def test_charts_take_hover_and_zoom_and_lead_to_a_step(chromium, pages):
    with watched(chromium) as tab:
        tab.goto(f"{pages.base_url}/ui/run?run=demo")
        assert tab.locator("svg.plot").count() == 7
        chart = tab.locator("svg.drawn").first
        chart.hover()
        assert re.match(r"step \d+ · mean reward \d", tab.locator(".told").first.inner_text())
        labels = chart.locator(".column")
        assert labels.all_text_contents() == ["1", "2", "3"]
        box = chart.bounding_box()
        middle, right = box["x"] + box["width"] / 2, box["x"] + 0.9 * box["width"]
        tab.mouse.move(middle - 50, box["y"] + 50)
        tab.mouse.down()
        tab.mouse.move(right, box["y"] + 50)
        tab.mouse.up()
        assert labels.all_text_contents() == ["2", "", ""]
        chart.dblclick()
        assert labels.all_text_contents() == ["1", "2", "3"]
        chart.click()
        tab.wait_for_url("**/ui/step?run=demo&step=*")


def test_charts_follow_the_colours_of_the_system(chromium, pages):
    with watched(chromium) as tab:
        tab.goto(f"{pages.base_url}/ui/run?run=demo")
        stroke = "getComputedStyle(document.querySelector('path.curve')).stroke"
        before = tab.evaluate(stroke)
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function(f"before => {stroke} !== before", arg=before)


def test_all_can_be_read_and_scored_without_scripts(chromium, pages, addresses):
    with watched(chromium, java_script_enabled=False) as tab:
        for address in addresses.values():
            tab.goto(f"{pages.base_url}/ui/{address}")
            assert tab.locator("h1").is_visible()
        tab.goto(f"{pages.base_url}/ui/{addresses['run']}")
        assert tab.locator("svg.drawn path.curve").count() == 8
        tab.screenshot(path=SHOTS / "run-without-scripts.png", full_page=True)
        tab.goto(f"{pages.base_url}/ui/score")
        tab.get_by_role("button", name="Score it").click()
        assert tab.locator(".reason").inner_text().startswith("Got ")


def test_a_keyboard_is_enough(chromium, pages, addresses):
    with watched(chromium) as tab:
        tab.goto(f"{pages.base_url}/ui/{addresses['rollout']}")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "main"
        first = tab.url.partition("#")[0]
        for key, back in (("j", "k"), ("k", "j")):
            if tab.locator(f".pager a[accesskey={key}]").count():
                tab.keyboard.press(key)
                tab.wait_for_function("url => location.href.split('#')[0] !== url", arg=first)
                tab.wait_for_load_state()  # the next key is for a script of the new page
                tab.keyboard.press(back)
                tab.wait_for_function("url => location.href.split('#')[0] === url", arg=first)
                tab.wait_for_load_state()


def test_a_citation_leads_the_eye_to_its_source(chromium, pages, addresses):
    with watched(chromium) as tab:
        tab.goto(f"{pages.base_url}/ui/{addresses['rollout']}")
        cite = tab.locator(".answer .cite").first
        cite.focus()
        tab.keyboard.press("Enter")
        source = tab.locator(":target")
        assert source.get_attribute("class") == "source"
        assert source.is_visible()
        style = "element => getComputedStyle(element).outlineStyle"
        cite.focus()
        tab.keyboard.press("Tab")
        assert tab.locator(":focus").evaluate(style) == "solid"


@pytest.mark.parametrize("look", LOOKS)
def test_long_names_leave_room_for_the_numbers(chromium, tmp_path, examples, look):
    name = "run-" + "x" * 252
    rows = [{**row, "id": f"{number}-{name}", "group": name} for number, row in enumerate(examples)]
    with kept_service(tmp_path) as client, watched(chromium, look) as tab:
        score(client, rows, run=name, step=1)
        addresses = {
            "runs": "",
            "run": f"run?run={name}",
            "step": f"step?run={name}&step=1",
            "group": f"group?run={name}&step=1&group={name}",
            "siblings": f"run?run={name}&show=siblings",
        }
        for shown, address in addresses.items():
            tab.goto(f"{client.base_url}/ui/{address}")
            tab.screenshot(path=SHOTS / f"{shown}-long-{look}.png", full_page=True)
            sizes = tab.locator("main :not(h1) > .named").evaluate_all(_SIZES)
            assert sizes, shown
            widest = 0.6 * LOOKS[look]["viewport"]["width"]
            assert all(width <= widest and height <= 50 for width, height in sizes), shown


@contextmanager
def guarded(chromium, folder) -> Iterator[Any]:
    with kept_service(folder, api_token=SecretStr(TOKEN)) as client, opened(chromium) as tab:
        yield str(client.base_url), tab


def test_a_link_with_the_token_opens_the_pages_and_is_forgotten(chromium, tmp_path):
    asked: list[str] = []
    with guarded(chromium, tmp_path) as (url, tab):
        tab.on("request", lambda each: asked.append(each.url + each.headers.get("referer", "")))
        # A page of another site: links of those are what browsers hold Strict cookies back from.
        tab.goto(f"{url.replace('127.0.0.1', 'localhost')}/healthz")
        link = f"<a href='{url}/ui?token={TOKEN}'>rewards</a>"
        tab.evaluate("html => document.body.innerHTML = html", link)
        tab.get_by_role("link", name="rewards").click()
        tab.wait_for_selector("h2")
        assert tab.url == f"{url}/ui/"
        assert tab.locator("h2").inner_text() == "No rollouts yet"
        asked.clear()
        tab.get_by_role("link", name="Score a rollout").click()
        tab.wait_for_url("**/ui/score")
        tab.go_back()
        tab.wait_for_selector("h2")
        assert tab.url == f"{url}/ui/"
        tab.get_by_role("button", name="Log out").click()
        tab.wait_for_url("**/ui/login")
        tab.goto(f"{url}/ui/score")
        assert tab.url == f"{url}/ui/login?to=score"
        trouble: list[str] = []
        tab.on("console", lambda each: trouble.append(each.text))
        tab.goto(f"{url}/docs")
        assert "/v1/score" in tab.locator("main").inner_text()
        assert trouble == []  # such as what the policy keeps from loading
    assert asked
    assert not [each for each in asked if TOKEN in each]
