"""What a browser may send, and under which names the pages answer."""

import json

import pytest
from pydantic import SecretStr

EVIL = "https://evil.example"
TOKEN = "correct-horse.battery~staple_1"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Origin": EVIL}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (403, {"Sec-Fetch-Site": "same-site", "Origin": "{here}"}),
        (403, {"Origin": EVIL, "Host": "evil.example"}),
        (403, {"Sec-Fetch-Site": "same-origin", "Host": "evil.example:8000"}),
        (200, {"Sec-Fetch-Site": "same-origin", "Origin": "{here}"}),
        (200, {"Origin": "{here}"}),
        (200, {"Host": "any.trainers.name"}),
    ],
)
@pytest.mark.parametrize("path", ["/v1/score", "/rm", "/t/any/get_reward/"])
def test_another_sites_script_has_nothing_scored(service, rollout, status, headers, path):
    service.judge.forget()
    given = {name: value.format(here=service.server.url) for name, value in headers.items()}
    body = {**rollout(), "label": json.dumps(rollout())}
    answer = service.post(body, path, headers={"Content-Type": "text/plain", **given})
    if status == 403:
        assert (answer.status_code, answer.json()["error"]) == (403, "cross_site")
        assert service.judge.started == []
    else:
        assert answer.status_code != 403


@pytest.mark.parametrize(
    ("settings", "known", "unknown"),
    [
        ({}, ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7"],
         ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[", ""]),
        ({"allowed_hosts": ["rewards.example"]}, ["rewards.example:443", "localhost"],
         ["evil.example"]),
        ({"allowed_hosts": ["*"]}, ["any.example"], []),
        ({"host": "localhost"}, ["localhost:80"], ["evil.example"]),
        ({"host": "0.0.0.0", "no_token": True}, ["192.0.2.7"], ["evil.example"]),
        ({"host": "0.0.0.0", "api_token": SecretStr(TOKEN)}, ["any.example"], []),
        ({"api_token": SecretStr(TOKEN)}, ["localhost"], ["evil.example"]),
    ],
)  # fmt: skip
def test_pages_answer_to_names_that_are_this_services(start, settings, known, unknown):
    service = start(**settings)
    for path in ("/ui/score", "/t/any/ui/") if "api_token" not in settings else ("/ui/score",):
        for names, status in ((known, 200), (unknown, 403)):
            for name in names:
                headers = {"Host": name, "X-Api-Key": TOKEN}
                assert service.client.get(path, headers=headers).status_code == status, name
