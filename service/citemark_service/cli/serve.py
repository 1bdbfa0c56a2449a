"""`citemark serve`: the reward service."""

from pathlib import Path
from typing import Any

import click

from citemark_service.app import create_app
from citemark_service.cli.options import chosen_settings, judge_options, setting_option
from citemark_service.examination import start_probe
from citemark_service.judges.factory import build_judge
from citemark_service.ledger.ledger import ledger_of, ledger_view
from citemark_service.serve import run
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer
from citemark_service.verdicts.caching import cache_verdicts

_FORMATS = click.Choice(["text", "json"])
_LEVELS = click.Choice(["debug", "info", "warning", "error"])


@click.command("serve")
@setting_option("host", "Address to listen on.")
@setting_option("port", "Port to listen on, 0 for any.", type=int, metavar="N")
@click.option("--no-token", default=None, is_flag=True, help="Let in who has no token.")
@judge_options
@setting_option("rubrics_dir", "Folder with further rubric sets.", type=click.Path(path_type=Path))
@setting_option("ledger", "Keeps rollouts.", metavar="URL")
@setting_option("log_level", "debug, info, warning, error.", type=_LEVELS, metavar="LEVEL")
@setting_option("log_format", "As lines, or as JSON objects.", type=_FORMATS)
@setting_option("otlp_endpoint", "Collector for traces.", metavar="URL")
def command(**flags: Any) -> None:
    """Run the reward service until SIGTERM or Ctrl-C; what runs is finished.
    Every setting and knob is also a variable, CITEMARK_<NAME>; flags win.
    """
    settings, metrics = chosen_settings(flags), Metrics()
    with open_tracer(settings, metrics) as tracer:
        app = create_app(
            settings,
            cache_verdicts(build_judge(settings, metrics, tracer), settings, metrics),
            metrics=metrics,
            beside=start_probe(settings, metrics),
            ledger=ledger_of(settings, metrics),
            view=ledger_view(settings),
            tracer=tracer,
        )
        run(app)
