"""How an answer, its citations and a criterion are shown in a prompt. Pure."""

from collections.abc import Container, Sequence
from typing import Final

from citemark_schemas import Criterion, Polarity
from citemark_service.judges.language.texts import clip, neutral, neutral_line
from citemark_service.parsing.parsed import Answer

ID_BYTES: Final = 80
KINDS: Final = {Polarity.NEGATIVE: "defect", Polarity.POSITIVE: "quality"}
_SHOWN_IDS: Final = 12
_UNDEFINED: Final = "?"  # shown for an invented id, whose text would stand in a tag of our own
_OPEN, _OPENED, _CLOSE = "\ue000", "\ue001", "\ue002"
_MARKS: Final = {_OPEN: "<cite ", _OPENED: ">", _CLOSE: "</cite>"}


def render_answer(answer: Answer, defined: Container[str], budget: int) -> str:
    """The answer as neutral text, with claims of any notation as `<cite IDS>…</cite>`.

    All other angle brackets are replaced, so that this notation cannot be forged; each id that is
    not `defined` is a question mark.
    """
    pieces, at = [], 0
    for mark in answer.marks:
        # Private-use marks instead of angle brackets, which `neutral` would replace.
        known = [name if name in defined else _UNDEFINED for name in mark.ids]
        ids = _without_marks(join_ids(known))
        opening = f"{_OPEN}{ids}{_OPENED}" if mark.opens else ""
        start = mark.start - answer.span[0]
        pieces += [_without_marks(answer.text[at:start]), _CLOSE if mark.closes else opening]
        at = mark.end - answer.span[0]
    shown = neutral("".join([*pieces, _without_marks(answer.text[at:])]))
    for character, tag_text in _MARKS.items():
        shown = shown.replace(character, tag_text)
    return clip(shown.strip(), budget)


def _without_marks(text: str) -> str:
    for mark in _MARKS:
        text = text.replace(mark, "\ufffd")
    return text


def join_ids(ids: Sequence[str]) -> str:
    shown = [clip(neutral_line(snippet_id), ID_BYTES) for snippet_id in ids[:_SHOWN_IDS]]
    more = len(ids) - len(shown)
    return ",".join(shown) + (f" and {more} more" if more else "")


def state_criterion(criterion: Criterion) -> str:
    """Title and description on one line; no title where the description begins with it."""
    title, description = neutral_line(criterion.title), neutral_line(criterion.description)
    repeated = description.startswith(title.rstrip("…"))
    return description if repeated else f"{title}: {description}"
