"""NeMo Gym's own simple agent, with Citemark as its resources server, or what it scaffolds."""

import pytest
from click.testing import CliRunner

from citemark_schemas import SIGNALS
from citemark_service.cli import main
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers


@pytest.fixture(params=["service", "scaffold"])
def job(request, rollouts, tmp_path):
    """`job(url)`: the step, sent to the service or through the server that it scaffolds."""
    whole = {"rollouts": rollouts, "samples": SAMPLES}
    if request.param == "scaffold":
        written = CliRunner().invoke(main, ["scaffold", "nemo-gym", str(tmp_path)])
        assert written.exit_code == 0, written.output
        whole["scaffold"] = str(tmp_path / "resources_servers" / "citemark" / "app.py")
    return lambda url: {**whole, "url": url}


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, job, expected, calls
):
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=5) as proxy,
    ):
        told = trainer("nemo_gym", job(proxy.url))
        assert proxy.cut == 5
        assert judged.judge.calls == calls
    assert [each["reward"] for each in told] == expected
    assert [each["question"] for each in told] == [each["question"] for each in rollouts]
    assert all(set(SIGNALS) <= each.keys() for each in told)


def test_what_a_dead_judge_left_unjudged_is_masked(trainer, job, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("nemo_gym", job(judged.url))
    failed = [each["mask_sample"] for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
    for each, masked in zip(told, failed, strict=True):
        assert (each["failure_kind"] is not None) == masked
        assert each.get("instance_config") == ({"mask_sample": True} if masked else None)
        assert each["judge_failed"] == float(masked)
