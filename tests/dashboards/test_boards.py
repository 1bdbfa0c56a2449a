"""Dashboards that Grafana can load, of metrics that exist. No Grafana and no Prometheus here."""

import itertools
import re
from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.provisioned import DOCKER, RECORDING, Board, alerts, boards, expressions, panels, yaml
from support.scripted_service import real_app

NAMES = re.compile(r"\b(?:citemark_|vllm:)\w+")
SELECTORS = re.compile(r"\b((?:citemark_|vllm:)\w+)\{([^}]*)\}")
GROUPINGS = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}
UNITS = {"bytes", "percentunit", "reqps", "s", "short"}
BOARDS = boards()


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    metrics = Metrics()
    real_app(Settings(), metrics)
    gauges = ("up", "limit", "in_flight", "waiting")
    metrics.add_server("gpu:8000", **dict.fromkeys(gauges, lambda: 1.0))
    metrics.probes.labels("gpu:8000", "grammar").set(1)
    metrics.requests.labels("/metrics", "200").inc()
    metrics.request_seconds.labels("/metrics").observe(0.1)
    text = metrics.exposition("")[0].decode() + RECORDING.read_text()
    families = text_string_to_metric_families(text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def all_differ(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) == len(listed)


@pytest.fixture(params=BOARDS)
def board(request) -> Board:
    return BOARDS[request.param]


ASKED = [
    *(pair for board in BOARDS.values() for pair in expressions(board)),
    *((name, rule["expr"]) for name, rule in alerts().items()),
]


@pytest.mark.parametrize("expression", [pytest.param(pair[1], id=pair[0]) for pair in ASKED])
def test_an_expression_asks_for_series_and_labels_that_exist(labels, expression):
    assert set(NAMES.findall(expression)) <= labels.keys()
    known = OF_PROMETHEUS.union(*labels.values())
    for listed in GROUPINGS.findall(expression):
        assert set(listed.split(", ")) <= known
    for name, selector in SELECTORS.findall(expression):
        assert set(re.findall(r"(\w+)=", selector)) <= labels[name] | OF_PROMETHEUS


def test_every_series_that_the_service_tells_is_looked_at(labels):
    asked = {name for _, expression in ASKED for name in NAMES.findall(expression)}
    metrics = {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in asked}
    told = {re.sub(r"_(total|sum|count|bucket|created|info)$", "", name) for name in labels}
    unseen = {name for name in told - metrics if name.startswith("citemark_")}
    # The version, and attempts by server, which the judge's calls hold already.
    assert unseen == {"citemark_build", "citemark_judge_server_calls"}


def test_a_board_can_be_told_from_the_others_and_its_panels_do_not_overlap(board):
    others = [each["uid"] for each in BOARDS.values()]
    assert others.count(board["uid"]) == 1
    assert not board["editable"]
    assert board["schemaVersion"] >= 39
    assert {link["url"] for link in board["links"]} <= {f"/d/{uid}" for uid in others}
    assert all_differ(panel["id"] for panel in board["panels"])
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x, y in itertools.product(range(place["w"]), range(place["h"]))
    ]
    assert all_differ(cells)
    assert max(x for x, _ in cells) < 24


def test_panels_say_what_a_bad_value_means_and_in_what_unit(board):
    assert all_differ(panel["title"] for panel in panels(board))
    for panel in panels(board):
        assert len(panel["description"]) >= 40, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert all_differ(target["refId"] for target in panel["targets"])
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends) or panel["type"] == "stat"
        assert all_differ(legends)


def test_everything_asks_the_data_source_and_variables_that_there_are(board):
    (source,) = yaml(DOCKER / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    known = {"type": source["type"], "uid": source["uid"]}
    asking = [*panels(board), *(target for each in panels(board) for target in each["targets"])]
    asking += [each for each in board["templating"]["list"] if each["type"] == "query"]
    assert all(each["datasource"] == known for each in asking)
    defined = {variable["name"] for variable in board["templating"]["list"]}
    asked = " ".join(expression for _, expression in expressions(board))
    assert set(re.findall(r"\$(\w+)", asked)) - {"__rate_interval"} == defined
