"""The box: a plain form within the bounds of `/v1/score`, for this site only."""

import json

import pytest

from support.ledger_service import Document, kept_service, page


def paste(client, rollout, **headers):
    text = rollout if isinstance(rollout, str) else json.dumps(rollout)
    return client.post("/ui/score", data={"rollout": text}, headers=headers)


def test_the_example_in_the_box_can_be_scored_as_it_is(pages):
    box = page(pages, "score")
    (area,) = box.all("textarea")
    (form,) = box.all("form")
    assert (form.attributes["method"], form.attributes["action"]) == ("post", "score")
    response = paste(pages, area.text)
    assert response.status_code == 200
    assert Document(response.text).classed("reason")[0].text.startswith("Got ")


def test_what_is_pasted_gets_the_services_reward_and_is_kept(tmp_path, examples):
    with kept_service(tmp_path) as client:
        reward = client.post("/v1/score", json=examples[2]).json()["reward"]
        response = paste(client, {**examples[2], "run": "pasted", "step": 4})
        assert Document(response.text).classed("figure")[0].text == f"{reward:.3f}"
        assert "pasted" in page(client, "").text
        assert "step 4" in page(client, "run?run=pasted").text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ('{"question": "q"}', "response"),
        ('{"question": "q", "response": "r", "tool_output": "", "positive_rubrics": [3]}', "[0]"),
    ],
)
def test_what_is_wrong_is_said_above_the_text(pages, text, told):
    response = paste(pages, text)
    assert response.status_code == 422
    seen = Document(response.text)
    assert told.lower() in seen.classed("warn")[0].text.lower()
    assert seen.all("textarea")[0].text.strip() == text


def test_a_rollout_over_the_limit_is_refused(tmp_path):
    with kept_service(tmp_path, max_rollout_bytes=2_000) as client:
        assert paste(client, "x" * 3_000).status_code == 413
        assert paste(client, "x" * 30_000).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "https://evil.example"}, {"Origin": "http://127.0.0.1:1"}],
)  # fmt: skip
def test_no_other_site_can_send_the_form(pages, examples, headers):
    response = paste(pages, examples[0], **headers)
    assert response.status_code == 403
    assert "Another site" in Document(response.text).text


def test_browsers_that_name_this_site_can(pages, examples):
    origin = str(pages.base_url).rstrip("/")
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": origin}, {"Origin": "null"}):
        assert paste(pages, examples[0], **headers).status_code == 200


def test_many_fields_are_no_rollout(pages):
    body = "&".join(f"a{number}=1" for number in range(5_000))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert pages.post("/ui/score", content=body, headers=headers).status_code == 422
