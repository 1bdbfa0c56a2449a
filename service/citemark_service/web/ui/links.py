"""Names and addresses of the pages. Pure.

Addresses are relative and pages are siblings, so that they hold behind any prefix: a proxy's, or
the token's (`/t/TOKEN/ui/`). Names from callers stand in the query only, percent-encoded.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from citemark_service.ledger.tables import NO_RUN, NO_STEP

FIRST: Final = "./"
_FOLDER: Final = "/ui"
# A page with its query. Without a slash before the query, and behind `./`, it cannot
# lead to another folder or host.
_PAGE: Final = re.compile(r"(?!log(?:in|out)\b)[a-z]{0,16}(\?[!-~]{1,4096})?")

_HEX: Final = frozenset("0123456789abcdef")
_TITLE: Final = 64


def is_page(path: str) -> bool:
    """Whether a path is one of the pages', existing or not."""
    return path == _FOLDER or path.startswith(f"{_FOLDER}/")


def way_back(raw_path: bytes) -> str:
    """The pages' folder, relative to `raw_path` as the browser knows it."""
    below = raw_path.count(b"/") - _FOLDER.count("/") - 1
    return "../" * below if below >= 0 else "ui/"  # `/ui` itself has no slash at its end


def to(page: str, **query: object) -> str:
    """The address of a page; parameters that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    # A caller's name may hold a lone surrogate, which is no UTF-8.
    return f"{page}?{urlencode(given, errors='replace')}" if given else page


def name_page(path: str, query: str) -> str:
    """The page and query that a path asks for, as `to_login` and `to_wanted` take them."""
    page = path.removeprefix(_FOLDER).removeprefix("/")
    return f"{page}?{query}" if query else page


def to_login(wanted: str) -> str:
    """The address of the form for the token, which leads on to `wanted` if that is a page."""
    # Checked, since it comes from the address and would else lead to any site.
    return to("login", to=wanted if _PAGE.fullmatch(wanted) and wanted else None)


def to_wanted(wanted: str) -> str:
    """The address of the wanted page; of the first one where `wanted` is no page."""
    return f"./{wanted}" if _PAGE.fullmatch(wanted) else FIRST


def run_title(run: str | None) -> str:
    return "without a run" if run in (None, NO_RUN) else str(run)


def step_title(step: int | None) -> str:
    return "no step" if step in (None, NO_STEP) else f"step {step}"


def group_title(key: str, questions: Mapping[str, str] | None = None) -> str:
    """A group's own key; without one, how its question begins, or else its hash in short.

    `questions` has those of groups without a key of their own, by group key.
    """
    if questions and key in questions:
        question = " ".join(questions[key].split())
        return f"{question[:_TITLE]}…" if len(question) > _TITLE else question
    # A hash of the prompt stands for a key that was not given.
    return f"prompt {key[:8]}" if len(key) == 32 and set(key) <= _HEX else key


def trail(
    run: str | None = None, step: int | None = None, group: str | None = None
) -> list[tuple[str, str]]:
    """(address, name) of each page from the first to a run, a step or a group."""
    way = [(FIRST, "Runs")]
    if run is not None:
        way.append((to("run", run=run), run_title(run)))
        if step is not None:
            way.append((to("step", run=run, step=step), step_title(step)))
            if group is not None:
                way.append((to("group", run=run, step=step, group=group), group_title(group)))
    return way
