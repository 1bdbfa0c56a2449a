"""Every page over a real socket: what it shows, and where it leads."""

import re
import sqlite3
from contextlib import closing
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from citemark_schemas import group_noise
from support.doubting_judge import DoubtingJudge
from support.examples import EMBEDDED
from support.ledger_service import Document, kept_service, page, score
from support.running_service import until

RUN, STEP = "run?run=demo", "step?run=demo&step=1"
PAGES = [
    *("", RUN, STEP, "rollout?n=1", "judge?n=1", "score", "run?run=", "step?run=&step=-1"),
    *(f"{RUN}&show={name}" for name in ("failed", "citation", "siblings", "addressed")),
    *(f"{STEP}&sort=longest", f"{STEP}&sort=best&show=refused"),
]
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    with kept_service(tmp_path_factory.mktemp("others")) as client:
        yield client


def links_of(document):
    return {a.text: a.attributes["href"] for a in document.all("a")}


def named(client, name, address=STEP):
    return page(client, links_of(page(client, address))[name])


def group_of(client):
    return page(client, next(x for x in page(client, STEP).links if x.startswith("group?")))


def rollouts_of(links):
    """The numbers of the rollouts among these links, in order, each once."""
    numbers = [parse_qs(urlsplit(link).query)["n"][0] for link in links if "rollout?n=" in link]
    return list(map(int, dict.fromkeys(numbers)))


def rows_of(step):
    rows = [row.text for row in step.all("tr")]
    found = [re.search(r"(\d\.\d{3})\D.*(judged|refused|failed)", row) for row in rows]
    return [(float(each[1]), each[2]) for each in found if each]


def figures_of(card):
    return list(map(float, re.findall(r"(\d\.\d{3})[a-z]", card.text)))


def assert_page(response, status):
    """A page with this status, which says what it may load and is kept by nobody."""
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    seen = Document(response.text)
    assert seen.all("h1")
    return seen


@pytest.mark.parametrize("address", PAGES)
def test_every_page_is_one_whose_links_lead_somewhere(pages, address):
    seen = assert_page(pages.get(f"/ui/{address}"), 200)
    base = f"{pages.base_url}/ui/{address}"
    for link in {urljoin(base, link).partition("#")[0] for link in seen.links}:
        assert pages.get(link).status_code == 200, link


def test_runs_come_with_their_sums_and_a_run_leads_straight_to_its_worst_and_best(pages):
    first = page(pages, "")
    assert first.all("tr")[1].text.startswith("without a run")  # the latest
    demo = next(row.text for row in first.all("tr") if row.text.startswith("demo"))
    assert "48" in demo  # rollouts
    assert "refused" in demo
    worst, best = map(figures_of, page(pages, RUN).classed("cards"))
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert 0.0 < worst[0] < 0.5
    assert best[0] > 1.0


def test_a_run_leads_to_what_was_refused_apart_from_the_worst(pages):
    run = page(pages, RUN)
    assert "refused" not in run.classed("cards")[0].text
    assert "9 of these rollouts were refused without judging" in run.text
    rows = rows_of(page(pages, links_of(run)["The latest of them"]))
    assert [outcome for _, outcome in rows] == ["refused"] * 3


def test_where_all_are_refused_these_are_the_worst(others, examples):
    score(others, [{**row, "response": ""} for row in examples[:3]], run="collapsed", step=1)
    assert len(figures_of(page(others, "run?run=collapsed").classed("cards")[0])) == 1
    assert "judged 0" in page(others, "step?run=collapsed&step=1").text


def test_a_run_is_read_without_scripts(pages):
    run = page(pages, RUN)
    curves = [path for path in run.all("path") if "curve" in path.attributes.get("class", "")]
    assert len(curves) == 8
    assert all(path.attributes["d"].startswith("M") for path in curves)
    told = [svg.attributes.get("aria-label", "") for svg in run.classed("drawn")]
    assert all("over steps 1 to 3" in each for each in told)


def test_a_step_shows_its_distribution_its_rubrics_and_each_outcome_alone(pages):
    step = page(pages, f"{STEP}&sort=latest")
    assert "16 rewards from 0.00 to" in step.text
    assert "Wrong-Entity Confabulation" in step.text
    assert len(step.classed("bin")) == 24
    links = links_of(step)
    for name, count in (("judged", 13), ("refused", 3), ("failed", 0)):
        alone = page(pages, links[f"{name} {count}"])
        assert [outcome for _, outcome in rows_of(alone)] == [name] * count
        assert "sort=latest" in links[f"{name} {count}"]
    assert "sort=latest" in links["all 16"]


def test_a_step_lists_its_rollouts_in_the_order_asked_for(pages, examples):
    longest = max(examples, key=lambda row: len(row["response"]))
    first, *_ = rollouts_of(page(pages, f"{STEP}&sort=longest").links)
    assert page(pages, f"rollout?n={first}").all("h1")[0].text == longest["id"]
    for sort, downwards in (("worst", False), ("best", True)):
        rewards, outcomes = zip(*rows_of(page(pages, f"{STEP}&sort={sort}")), strict=True)
        assert outcomes == ("judged",) * 13 + ("refused",) * 3
        assert list(rewards[:13]) == sorted(rewards[:13], reverse=downwards)


def test_a_list_that_is_cut_says_so(others, examples):
    score(others, [{**examples[0], "id": str(n)} for n in range(101)], run="long", step=1)
    assert "The first 100 of 101 are shown." in page(others, "step?run=long&step=1").text
    assert "are shown" not in page(others, "step?run=long&step=1&show=refused").text


def test_a_negative_number_has_a_minus_sign_everywhere(others, examples):
    stopped = {**examples[0], "finish_reason": "length"}
    penalty = {"non_stop_penalty": True, "non_stop_penalty_value": -1.5}
    for step in (1, 2):
        rows = [{**each, "group": "g"} for each in (stopped, examples[1])]
        score(others, rows, run="a", step=step, **penalty)
    addresses = ["run?run=a", "step?run=a&step=1", "group?run=a&step=1&group=g"]
    worst = links_of(page(others, addresses[1]))[stopped["id"]]
    for address in ("", worst, *addresses, "run?run=a&show=siblings"):
        seen = page(others, address)
        told = [seen.text, *(each.attributes.get("aria-label", "") for each in seen.elements)]
        assert not re.search(r"(?<![\w.-])-\d", " ".join(told)), address
        assert address == "" or "\N{MINUS SIGN}1" in " ".join(told), address


def test_a_long_name_is_there_in_full_where_it_is_cut(others, examples):
    name = "n" * 256
    score(others, [{**examples[0], "group": name, "id": name}], run=name, step=1)
    for address in ("", f"run?run={name}", f"step?run={name}&step=1"):
        cut = page(others, address).classed("named")
        assert name in [each.attributes["title"] for each in cut]


def test_a_group_stands_side_by_side_the_best_first(pages):
    group = group_of(pages)
    rewards = next(row.text for row in group.all("tr") if row.text.startswith("Reward"))
    values = re.findall(r"\d\.\d{3}", rewards)
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert group.classed("differs")
    assert group.classed("claims")


@pytest.mark.parametrize("alike", [True, False])
def test_what_a_judge_doubts_stands_beside_the_rewards_and_their_spread(tmp_path, examples, alike):
    rows = [{**row, "id": str(at), "group": "g"} for at, row in enumerate(examples[:4])]
    rows = [{**rows[0], "id": str(at)} for at in range(4)] if alike else rows
    with kept_service(tmp_path, DoubtingJudge(EMBEDDED, alike=alike)) as client:
        results = score(client, rows, run="r", step=1, verification_reward=10)
        group, first = page(client, "group?run=r&step=1&group=g"), page(client, "rollout?n=1")
        told, step = client.get("/metrics").text, page(client, "step?run=r&step=1")
    pairs = [(each["reward"], each["reward_std"]) for each in results]
    share = group_noise(("g", *pair) for pair in pairs)
    assert share is not None
    assert (share == 1.0) == alike
    noise = next(row.text for row in group.all("tr") if row.text.startswith("Judge's noise"))
    assert sorted(re.findall(r"\d\.\d{3}", noise)) == sorted(f"{std:.3f}" for _, std in pairs)
    assert ("do not vary more" if alike else f"{100 * share:.0f} % of the variance") in group.text
    assert f"Judge's noise{100 * share:.0f} % of the variance within groups" in step.text
    assert any("{:.3f} ± {:.3f} of".format(*pair) in first.text for pair in pairs)
    assert re.search(r"citemark_group_noise_squares_total 0\.0*[1-9]", told)


def test_the_lists_of_a_run_are_of_what_they_are_named_after(pages):
    rows = [row.text for row in page(pages, f"{RUN}&show=citation").all("tr")[1:]]
    assert "✗ 0.00" in rows[0]
    assert "✓ 1.00" in rows[-1]
    found = page(pages, f"{RUN}&show=siblings")
    assert len(found.all("tr")) == 13  # 4 groups in each of 3 steps, and the head
    assert rollouts_of(found.links)
    attack = next(link for link in page(pages, "").links if "script" in link)
    found = page(pages, f"{attack}&show=addressed")
    assert len(rollouts_of(found.links)) >= 5
    assert "addresses the judge" in found.text


def test_a_claim_leads_to_the_sources_it_cites(pages):
    rollout = named(pages, "cycle-lane-good")
    cited, back = (
        {link.removeprefix("#") for link in rollout.links if link.startswith(start)}
        for start in ("#source-", "#claim-")
    )
    assert cited
    assert cited | back <= {each.attributes.get("id") for each in rollout.elements}


def test_what_was_lost_is_named_in_plain_words_where_it_stands(pages):
    invented = named(pages, "cycle-lane-invented")
    assert "invented id" in invented.classed("invented")[0].text
    uncited = named(pages, "cycle-lane-padded").classed("uncited")
    assert any("states a fact, cites nothing" in each.text for each in uncited)
    reason = invented.classed("reason")[0].text
    assert reason.startswith("Got 0.35 of 1.20. Lost 0.")
    assert "not met" in reason
    assert "invented id" in reason


def test_siblings_are_one_key_away(pages):
    first, second, third, *_ = sorted(rollouts_of(group_of(pages).links))
    rollout = page(pages, f"rollout?n={second}")
    links = [a.attributes for a in rollout.all("a") if "accesskey" in a.attributes]
    keys = {each["accesskey"]: each["href"] for each in links}
    assert keys == {"k": f"rollout?n={first}", "j": f"rollout?n={third}"}
    assert "sample 2 of 4" in rollout.text


@pytest.mark.parametrize(
    "address", ["rollout?n=999999", "judge?n=999999", "run?run=none", "step?run=demo&step=9",
                "group?run=demo&step=1&group=none"],
)  # fmt: skip
def test_what_is_not_kept_is_said_on_a_page(pages, address):
    assert "kept" in assert_page(pages.get(f"/ui/{address}"), 404).text


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("rollout", ["n"]),
        ("rollout?n=abc", ["n"]),
        (f"rollout?n={10**30}", ["n"]),
        ("judge?n=-1", ["n"]),
        ("step", ["run", "step"]),
        ("step?run=demo&step=1&sort=<script>&show=%00", ["sort", "show"]),
        ("group?run=demo&step=x", ["step", "group"]),
        (f"run?run={'x' * 257}", ["run"]),
    ],
)
def test_what_an_address_lacks_is_named_on_a_page(pages, address, names):
    seen = assert_page(pages.get(f"/ui/{address}"), 422)
    assert [code.text for code in seen.all("code")] == names


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "nosuch", 404),
        ("GET", "<img src=x>", 404),
        ("GET", "a/b/c", 404),
        ("GET", "a%2Fb", 404),
        ("GET", "assets/nothing.js", 404),
        ("POST", "", 405),
        ("POST", "run?run=demo", 405),
        ("DELETE", "score", 405),
    ],
)
def test_an_address_that_is_no_page_is_answered_with_one(pages, method, address, status):
    response = pages.request(method, f"/ui/{address}")
    seen = assert_page(response, status)
    assert ("allow" in response.headers) == (status == 405)
    assert "<img src=x>" not in response.text
    links = [link for link in seen.links if not link.startswith("#")]
    assert all(pages.get(str(response.url.join(link))).status_code == 200 for link in links)
    style = seen.all("link")[-1].attributes["href"]
    assert pages.get(str(response.url.join(style))).headers["content-type"].startswith("text/css")


def test_only_what_is_below_the_bare_address_is_a_page_behind_any_prefix(pages):
    assert pages.get("/ui").headers["location"] == "ui/"
    assert pages.get("/t/whatever/ui/").status_code == 200
    for address in ("/nosuch", "/uix", "/v1/score"):
        assert pages.get(address).headers["content-type"] == "application/json"


def test_only_the_files_of_the_folder_are_assets(pages):
    assert pages.get("/ui/assets/pages.css").headers["content-type"].startswith("text/css")
    for name in ("nothing.js", "..%2fpages.py", "%2e%2e/pages.py"):
        assert pages.get(f"/ui/assets/{name}").status_code == 404
    tag = pages.get("/ui/assets/keys.js").headers["etag"]
    assert pages.get("/ui/assets/keys.js", headers={"If-None-Match": tag}).status_code == 304


def test_without_a_ledger_the_pages_say_how_to_get_one(tmp_path):
    with kept_service(tmp_path, ledger="off") as client:
        for address in ("", "rollout?n=1"):
            assert "--ledger sqlite:///" in page(client, address).text
        assert page(client, "score").all("textarea")


def alter(folder, change):
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        connection.execute(change)


def test_a_ledger_is_empty_then_broken_then_unreadable(tmp_path, examples):
    with kept_service(tmp_path) as client:
        first = page(client, "")
        assert "No rollouts yet" in first.text
        assert "/v1/score" in first.text
        assert "score" in first.links
        score(client, examples[:1])
        alter(tmp_path, "ALTER TABLE steps RENAME TO elsewhere")
        assert "no such table" in assert_page(client.get("/ui/"), 503).text
        alter(tmp_path, "ALTER TABLE elsewhere RENAME TO steps")
        alter(tmp_path, "UPDATE rollouts SET reward = 'no number'")
        response = client.get("/ui/step?run=&step=-1")
        assert response.headers["x-request-id"] in assert_page(response, 500).text


def test_the_first_page_tells_of_a_ledger_that_cannot_be_written(tmp_path, examples):
    with kept_service(tmp_path, ledger_wait_s=0.5) as client:
        score(client, examples[:2], run="a", step=1)
        assert "cannot be used" not in page(client, "").text
        alter(tmp_path, "ALTER TABLE prompts RENAME TO elsewhere")
        score(client, examples[2:4], run="a", step=2)
        told = page(client, "").text
        alter(tmp_path, "ALTER TABLE elsewhere RENAME TO prompts")
        until(lambda: "cannot be used" not in page(client, "").text, every_s=0.1)
    assert "The ledger's database cannot be used now: 2 rollouts wait to be kept." in told
