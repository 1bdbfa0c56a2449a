"""The servers of a judge, as settings name them."""

import pytest

from citemark_service.errors import SettingsError
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings, load_settings
from citemark_service.telemetry.metrics import Metrics

URLS = ("http://a:1/v1", "http://b:1/v1")


@pytest.mark.parametrize(
    "text", ["http://a:1/v1,http://b:1/v1", " http://a:1/v1 , http://b:1/v1,", str([*URLS])]
)
def test_servers_are_listed_with_commas_or_as_json(monkeypatch, text):
    monkeypatch.setenv("CITEMARK_JUDGE_URLS", text.replace("'", '"'))
    assert load_settings().judge_urls == URLS
    assert load_settings(judge_urls=[*URLS]).judge_urls == URLS


@pytest.mark.parametrize("text", ['["http://a:1/v1"', "[1]"])
def test_a_list_that_is_none_is_refused_by_its_name(monkeypatch, text):
    monkeypatch.setenv("CITEMARK_JUDGE_URLS", text)
    with pytest.raises(SettingsError, match="judge_urls"):
        load_settings()


@pytest.mark.parametrize("name", ["vllm", "openai"])
async def test_several_servers_take_the_place_of_the_one(name):
    metrics = Metrics()
    judge = build_judge(Settings(judge=name, judge_urls=URLS, judge_api_key="k"), metrics)
    assert list(metrics.servers_up) == ["a:1", "b:1"]
    assert all(up() for up in metrics.servers_up.values())
    await judge.aclose()


async def test_one_server_has_metrics_too():
    metrics = Metrics()
    judge = build_judge(Settings(judge="vllm"), metrics)
    labels = {"server": "127.0.0.1:8001"}
    assert metrics.registry.get_sample_value("citemark_judge_server_up", labels) == 1
    assert metrics.registry.get_sample_value("citemark_judge_server_waiting", labels) == 0
    await judge.aclose()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"judge_urls": (URLS[0], URLS[0])}, "judge_urls"),
        ({"judge_urls": ("http://user:secret@a:1/v1", URLS[1])}, "credentials"),
        ({"judge_urls": ("ftp://a/v1", URLS[1])}, "http"),
        ({"judge": "openai", "judge_urls": URLS}, "judge_api_key"),
    ],
)
def test_servers_that_cannot_be_are_refused(changed, named):
    with pytest.raises(SettingsError, match=named) as refused:
        build_judge(Settings(**{"judge": "vllm", **changed}), Metrics())
    assert "secret" not in str(refused.value)
