"""Names and addresses of the pages. Pure.

All addresses are relative and all pages are siblings, so that they hold behind any prefix: a
proxy's, or the token's (`/t/TOKEN/ui/`). What a caller named stands in the query only,
percent-encoded.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from citemark_service.ledger.rows import NO_RUN, NO_STEP

FIRST: Final = "./"
_FOLDER: Final = "/ui"
_PAGE: Final = re.compile(r"(?!login\b)[a-z]{0,16}(\?[!-~]{1,4096})?")
"""One of the pages with its query, as an address has it. It holds no slash before the query, and
so, behind `./`, can be taken for no other folder's or host's."""

_HEX: Final = frozenset("0123456789abcdef")
_TITLE: Final = 64


def is_page(path: str) -> bool:
    """Whether a path of the service is one of the pages', there or not."""
    return path == _FOLDER or path.startswith(f"{_FOLDER}/")


def way_back(raw_path: bytes) -> str:
    """What leads from any such path, as the browser knows it, to the folder of the pages."""
    below = raw_path.count(b"/") - _FOLDER.count("/") - 1
    return "../" * below if below >= 0 else "ui/"


def to(page: str, **query: object) -> str:
    """The address of a page with what is given of its query."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{page}?{urlencode(given, errors='replace')}" if given else page


def name_page(path: str, query: str) -> str:
    """The page that a path of the service and a query ask for, for `to_login` and `to_wanted`."""
    page = path.removeprefix(_FOLDER).removeprefix("/")
    return f"{page}?{query}" if query else page


def to_login(wanted: str) -> str:
    """The form for the token, which leads on to the page that was wanted, where it is one."""
    return to("login", to=wanted if _PAGE.fullmatch(wanted) and wanted else None)


def to_wanted(wanted: str) -> str:
    """The page that was wanted; the first one where that is none."""
    return f"./{wanted}" if _PAGE.fullmatch(wanted) else FIRST


def run_title(run: str | None) -> str:
    """A run's name, or what stands for rollouts without one."""
    return "without a run" if run in (None, NO_RUN) else str(run)


def step_title(step: int | None) -> str:
    """A step's number, or what stands for none."""
    return "no step" if step in (None, NO_STEP) else f"step {step}"


def group_title(key: str, questions: Mapping[str, str] | None = None) -> str:
    """A group's own key; without one, how its question begins, or else its hash in short.

    Args:
        questions: by group key, of groups without a key of their own.
    """
    if questions and key in questions:
        question = " ".join(questions[key].split())
        return f"{question[:_TITLE]}…" if len(question) > _TITLE else question
    return f"prompt {key[:8]}" if len(key) == 32 and set(key) <= _HEX else key


def trail(
    run: str | None = None, step: int | None = None, group: str | None = None
) -> list[tuple[str, str]]:
    """Addresses and names on the way from the first page to a run, a step or a group."""
    way = [(FIRST, "Runs")]
    if run is not None:
        way.append((to("run", run=run), run_title(run)))
        if step is not None:
            way.append((to("step", run=run, step=step), step_title(step)))
            if group is not None:
                way.append((to("group", run=run, step=step, group=group), group_title(group)))
    return way
