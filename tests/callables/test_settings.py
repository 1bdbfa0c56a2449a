"""What the client reads from the environment, beside a service that reads the same one."""

import pickle

import pytest

from citemark_grpo.errors import SettingsError
from citemark_grpo.settings import ClientSettings, load_settings
from citemark_schemas import Knobs, Rollout
from citemark_service.settings import Settings
from citemark_service.settings import load_settings as load_service_settings

URL = "http://127.0.0.1:8000"


def rollout(**more):
    return Rollout(**{"question": "q", "tool_output": "", "response": "r", **more})


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_url_says_what_to_do(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("CITEMARK_URL", value)
    with pytest.raises(SettingsError, match="export CITEMARK_URL=http://HOST:8000"):
        load_settings()


def test_the_environment_is_read_and_the_trainers_configuration_wins(monkeypatch):
    monkeypatch.setenv("CITEMARK_URL", URL)
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "30")
    monkeypatch.setenv("CITEMARK_KNOBS", '{"citation_weight": 0.3}')
    read = load_settings(url="http://other", run=None)
    assert read.url == "http://other"
    assert read.deadline_s == 30.0
    assert read.run is None
    assert read.knobs == Knobs(citation_weight=0.3)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CITEMARK_DEADLINE_S", "0", "deadline_s: .*greater than 0"),
        ("CITEMARK_DEADLINE_S", "inf", "deadline_s: .*finite"),
        ("CITEMARK_FALLBACK_REWARD", "nan", "fallback_reward: .*finite"),
        ("CITEMARK_KNOBS", "{", "knobs: "),
        ("CITEMARK_KNOBS", '{"citation_wieght": 1}', "knobs.citation_wieght: "),
    ],
)
def test_a_value_out_of_range_is_named(monkeypatch, variable, value, message):
    monkeypatch.setenv("CITEMARK_URL", URL)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_misspelt_override_is_named():
    with pytest.raises(SettingsError, match="ulr: "):
        load_settings(url=URL, ulr=URL)


def test_settings_travel_to_other_processes_and_show_no_token():
    settings = ClientSettings(url=URL, api_token="secret", knobs=Knobs(citation_weight=0.3))
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.knobs.model_fields_set == {"citation_weight"}
    assert "secret" not in repr(settings)


def test_a_row_is_filled_up_only_where_it_is_open():
    settings = ClientSettings(
        url=URL, run="a", knobs=Knobs(citation_weight=0.3, verification_reward=1.0)
    )
    filled = settings.fill(rollout(), step=7)
    assert (filled.run, filled.step, filled.citation_weight) == ("a", 7, 0.3)
    # A default that was set is sent: the service's may be another.
    assert "verification_reward" in filled.model_fields_set
    own = rollout(run="b", step=1, citation_weight=0.5)
    kept = settings.fill(own, step=7)
    assert (kept.run, kept.step, kept.citation_weight) == ("b", 1, 0.5)


def test_the_service_takes_every_variable_of_the_client_from_the_same_shell(monkeypatch):
    monkeypatch.setenv("CITEMARK_URL", URL)
    monkeypatch.setenv("CITEMARK_API_TOKEN", "shared-by-both-of-them")
    for name in ClientSettings.model_fields.keys() - {"url", "api_token"}:
        monkeypatch.setenv(f"CITEMARK_{name.upper()}", "1")
    token = load_service_settings().api_token
    assert token is not None
    assert token.get_secret_value() == "shared-by-both-of-them"


def test_what_both_read_is_meant_for_both():
    shared = ClientSettings.model_fields.keys() & Settings.model_fields.keys()
    assert shared == {"api_token", "fallback_reward", "ignored_rubric_keys"}
