"""`docs/settings.md`, as the settings describe themselves.

`PYTHONPATH=tests python -m support.settings_page` writes the file anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from citemark_schemas import Knobs
from citemark_service.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
_MIB = 1024 * 1024
_HEAD = """# Settings

Each is a variable of the environment; `citemark serve --help` lists those that are flags too, which
win. One that is not known, or is out of range, ends the start with its name. The reward's knobs are
settings as well, as in `CITEMARK_CITATION_WEIGHT=0.3`: [reward](reward.md#knobs) lists them.

| setting | default | meaning |
|---|---|---|
"""


def render_page() -> str:
    return _HEAD + "".join(_render_rows())


def _render_rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name not in Knobs.model_fields:
            meaning = " ".join(f"{_choices(field.annotation)}{field.description}".split())
            default = _default(name, field.default)
            yield f"| `CITEMARK_{name.upper()}` | {default} | {meaning} |\n"


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return ", ".join(f"`{choice}`" for choice in get_args(annotation)) + ". "


def _default(name: str, value: object) -> str:
    match value:
        case None | () | frozenset():
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case int() if name.endswith("_bytes"):
            return f"{value // _MIB} MiB" if value >= _MIB else f"{value // 1024} KiB"
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
