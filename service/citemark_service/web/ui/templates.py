"""Templates to HTML: everything escaped, and nothing in it that a reader could not see."""

from importlib import resources
from typing import Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from citemark_service.printable import figure, printable
from citemark_service.web.ui import charts, links
from citemark_service.web.ui.views.naming import number

_FOLDER: Final = "citemark_service.web.ui"


class Templates:
    """The pages' templates. Safe in several threads."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=DictLoader(_texts()),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            links=links, up="", plot_width=charts.WIDTH, plot_height=charts.HEIGHT
        )
        self._environment.filters.update(number=number, figure=figure)

    def html(self, name: str, /, **values: object) -> str:
        """A page; `values` may hold text of strangers anywhere."""
        return self._environment.get_template(f"{name}.html.j2").render(values)


def _visible(value: object) -> object:
    """Markup is the templates' own; all other text may come from a policy."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _texts() -> dict[str, str]:
    folder = resources.files(_FOLDER) / "templates"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}
