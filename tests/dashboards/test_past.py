"""Every expression of every panel and rule has data in a real Prometheus after four hours."""

import re

import pytest

from support.provisioned import alerts, boards, expressions
from support.running_service import until

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

VARIABLES = {"$window": "15m", "$__rate_interval": "2m", "$instance": ".*", "$model": ".*"}
IDLE = ("ALERTS", "reposts", "primes", "open_streams", "draining", "trace_spans")
"""What stays at 0 in the hours: no alert is evaluated for the past, and nothing uses the others."""
QUERIES = [
    pytest.param(expression, id=f"{name}-{title}-{number}")
    for name, board in boards().items()
    for number, (title, expression) in enumerate(expressions(board))
]


def as_asked(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize("expression", QUERIES)
def test_a_panel_has_data(past, expression):
    values = past.values(as_asked(expression))
    assert values
    assert any(values) or any(name in expression for name in IDLE)


@pytest.mark.parametrize("name", alerts())
def test_what_an_alert_tells_of_happens(past, name):
    assert past.values(alerts()[name]["expr"])


def test_a_calm_hour_is_quiet(past):
    loud = [name for name, rule in alerts().items() if past.values(rule["expr"], minutes=59)]
    # The scripted judge does not do what the probe looks for, which is said from the start.
    assert loud == ["CitemarkJudgeLacks"]


def test_the_correlation_is_that_of_the_rollouts(past):
    panel = dict(expressions(boards()["rewards"]))["Correlation of reward and length"]
    found = past.values(as_asked(panel))
    assert min(found) < 0.4  # while the two have nothing to do with each other
    assert max(found) == pytest.approx(1, abs=0.05)  # while nothing but length is paid


def test_the_service_is_scraped_and_every_rule_evaluated(past):
    def is_scraped() -> bool:
        targets = past.answer("targets")["activeTargets"]
        found = [each["health"] for each in targets if each["labels"]["job"] == "citemark"]
        return found == ["up"]

    def health() -> dict[str, str]:
        groups = past.answer("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    until(is_scraped, every_s=0.2)
    names = past.answer("label/__name__/values")
    assert not [name for name in names if re.fullmatch("citemark_.*_created", name)]
    until(lambda: health() == dict.fromkeys(alerts(), "ok"), every_s=0.2)
