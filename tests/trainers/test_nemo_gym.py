"""NeMo Gym's own simple agent, with Citemark as its resources server, or what it scaffolds."""

import pytest
from click.testing import CliRunner

from citemark_schemas import SIGNALS
from citemark_service.cli import main
from support.judged_service import Mortal, judged_service
from support.step_checks import cut_service, judged_or_flagged

pytestmark = pytest.mark.trainers


@pytest.fixture(params=["service", "scaffold"])
def told_of(request, trainer, rollouts, tmp_path):
    """What Gym makes of the step, sent to the service or through the server that it scaffolds."""
    options = {}
    if request.param == "scaffold":
        written = CliRunner().invoke(main, ["scaffold", "nemo-gym", str(tmp_path)])
        assert written.exit_code == 0, written.output
        options["scaffold"] = str(tmp_path / "resources_servers" / "citemark" / "app.py")
    return lambda url: trainer("nemo_gym", rollouts, url=url, **options)


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    told_of, rollouts, expected, calls
):
    with cut_service(5, calls) as url:
        told = told_of(url)
    assert [each["reward"] for each in told] == expected
    assert [each["question"] for each in told] == [each["question"] for each in rollouts]
    assert all(set(SIGNALS) <= each.keys() for each in told)


def test_what_a_dead_judge_left_unjudged_is_masked(told_of, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = told_of(judged.url)
    failed = [each["mask_sample"] for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
    for each, masked in zip(told, failed, strict=True):
        assert (each["failure_kind"] is not None) == masked
        assert each.get("instance_config") == ({"mask_sample": True} if masked else None)
        assert each["judge_failed"] == float(masked)
