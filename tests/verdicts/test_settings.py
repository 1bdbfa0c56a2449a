"""What `verdict_cache` may say."""

import sys

import pytest

from citemark_service.errors import SettingsError
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import CachingJudge, cache_verdicts
from support.in_process_judges import CountingJudge


def remembered(url):
    settings = Settings(judge="vllm", verdict_cache=url)
    return cache_verdicts(CountingJudge(), settings, Metrics())


def test_the_embedded_judge_is_left_as_it_is():
    judge = EmbeddedJudge()
    assert cache_verdicts(judge, Settings(judge="embedded"), Metrics()) is judge


@pytest.mark.parametrize(
    "url",
    [
        "off",
        "memory://",
        "memory://?entries=10&mib=1",
        "sqlite:///verdicts.db?entries=5&mib=1",
        "redis://:secret@127.0.0.1:6379/3?ttl_s=5&namespace=n&health_check_interval=9",
        "rediss://example.org",
    ],
)
async def test_what_is_allowed(url):
    assert isinstance(remembered(url), CachingJudge)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "off, memory://, sqlite:///PATH or redis://HOST"),
        ("postgres://x", "off, memory://"),
        ("memory://?entries=0", "entries: .* greater than or equal to 1"),
        ("memory://?entry=5", "entry: Extra inputs"),
        ("memory://?mib=", "mib: .*integer"),
        ("sqlite://verdicts.db", "sqlite:///relative/path"),
        ("sqlite:///", "sqlite:///relative/path"),
        ("sqlite:////no-such-folder/verdicts.db", "no folder /no-such-folder"),
        ("sqlite:///verdicts.db?ttl_s=5", "ttl_s: Extra inputs"),
        ("redis://h?ttl_s=soon", "ttl_s: .*integer"),
        ("redis://:hush@h:port", "not a Redis URL"),
        ("redis://h?db=x", "not a Redis URL"),
        ("redis://h?no_such_option=1", "not a Redis URL"),
    ],
)
def test_what_is_not_is_named(url, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        remembered(url)
    assert "hush" not in f"{refusal.value} {Settings(verdict_cache=url)!r}"  # the password


def test_the_extra_is_named_where_redis_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "citemark_service.verdicts.redis", raising=False)
    for name in ("redis", *(name for name in sys.modules if name.startswith("redis."))):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"citemark\[service,redis\]"):
        remembered("redis://h")
