"""What `promtool` says of the configuration and the rules, and what each rule has to have."""

import re
from pathlib import Path

import pytest

from support.provisioned import DOCKER, alerts, promtool, yaml

UNITS = "alerts.test.yml"
FIRING = re.compile(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}')


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        (DOCKER / "prometheus", ("check", "config", "prometheus.yml")),
        (DOCKER / "prometheus", ("check", "rules", "rules/citemark.yml")),
        (Path(__file__).parent, ("test", "rules", UNITS)),
    ],
    ids=["configuration", "rules", "every alert fires when it should and not before"],
)
def test_promtool_accepts(programs, folder, arguments):
    done = promtool(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_is_quiet_and_fires(request):
    cases = yaml(request.path.with_name(UNITS))["tests"]
    outcomes = {
        (found[1], bool(each["exp_samples"]))
        for case in cases
        for each in case["promql_expr_test"]
        if (found := FIRING.fullmatch(each["expr"]))
    }
    assert outcomes == {(name, fires) for name in alerts() for fires in (True, False)}


def test_an_alert_says_how_bad_it_is_and_what_to_do():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        notes = rule["annotations"]
        assert notes["summary"].endswith(".")
        assert len(notes["description"]) > 100
        assert notes["runbook"] == f"docs/runbook.md#{name.lower()}"
    headings = re.findall(
        r"^## (\w+)$", (DOCKER.parent / "docs" / "runbook.md").read_text(), re.MULTILINE
    )
    assert sorted(headings) == sorted(alerts())
