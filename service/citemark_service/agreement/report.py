"""What was measured of a judge, to keep, to draw and to paste into a run's config."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment
from pydantic import TypeAdapter, ValidationError

from citemark_service.agreement.figures import calibrate
from citemark_service.agreement.measure import COMPARED, Agreement
from citemark_service.errors import DataError
from citemark_service.judges.tasks import JudgeIdentity

_IN_CARD = (*COMPARED, "brier", "calibration_error")


@dataclass(frozen=True, slots=True)
class Report:
    judge: JudgeIdentity
    measured_at: datetime
    files: tuple[Agreement, ...]


_REPORT = TypeAdapter(Report)


def make_report(judge: JudgeIdentity, files: list[Agreement]) -> Report:
    return Report(judge, datetime.now(UTC).replace(microsecond=0), tuple(files))


def save_report(report: Report, path: Path) -> None:
    path.write_bytes(_REPORT.dump_json(report, indent=1))


def load_report(path: Path) -> Report:
    """Raises `DataError` for a file that `save_report` did not write."""
    try:
        return _REPORT.validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path} is not what `citemark agree --output` writes") from error


def write_card(report: Report) -> str:
    """The judge and its figures as YAML, rounded to three digits."""

    def lines() -> Iterator[str]:
        yield "judge:"
        yield f"  model: {json.dumps(report.judge.model)}"
        yield f"  prompts: {json.dumps(report.judge.prompts)}"
        yield f"  measured: {json.dumps(report.measured_at.isoformat())}"
        yield "  agreement:"
        for each in report.files:
            card: dict[str, Any] = {"rows": len(each.judged), "failed": each.failed}
            for name in _IN_CARD:
                if (value := getattr(each.figures, name)) is not None:
                    card[name] = round(value, 3)
                if (edges := each.intervals.get(name)) is not None:
                    card[f"{name}_95"] = [round(edge, 3) for edge in edges]
            # JSON is YAML's flow style.
            yield f"    {json.dumps(each.file)}: {json.dumps(card)}"

    return "\n".join(lines())


def draw_reliability(report: Report) -> str:
    """An SVG of each file's reliability curve beside the diagonal; dots grow with their rows."""
    text = resources.files(__package__).joinpath("reliability.svg.j2").read_text("utf-8")
    curves = []
    for each in report.files:
        bins = calibrate([row.pair for row in each.judged])
        share = [(one.score, one.label, (one.rows / len(each.judged)) ** 0.5) for one in bins]
        curves.append((each.file, len(each.judged), share))
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return template.render(model=report.judge.model, curves=curves)
