"""Format checks of an answer, without a judge."""

import re

from citemark_schemas import FormatReport, RefusalKind
from citemark_service.parsing.parsed import Answer, Sources

_TOKEN = re.compile(r"[^\s,;()\[\]{}<>\"'“”‘’`]+")
_WORD = re.compile(r"[\w-]+")
_NAMES = (
    *("one_answer_block", "answer_not_empty", "has_citation"),
    *("ids_exist", "tags_well_formed", "no_bare_ids"),
)
_SHORTEST_ID = 4  # shorter ids, such as "B12", appear in prose by chance


def format_report(answer: Answer, sources: Sources) -> FormatReport:
    """Run every check that the answer permits; `bonus` is the share of all that passes."""
    checks = _refused_checks(answer.refusal) if answer.refusal else _checks(answer, sources)
    return FormatReport(
        checks=checks,
        unchecked=tuple(name for name in _NAMES if name not in checks),
        bonus=sum(checks.values()) / len(_NAMES),
        judge_addressed=answer.judge_addressed,
    )


def _checks(answer: Answer, sources: Sources) -> dict[str, bool]:
    written = [name for claim in answer.claims for name in claim.ids]
    return {
        "one_answer_block": True,
        "answer_not_empty": True,
        "has_citation": bool(written),
        "ids_exist": all(name in sources.by_id for name in written),
        "tags_well_formed": not (answer.malformed_tags or answer.stray_tags),
        "no_bare_ids": not _shows_ids(answer.prose, sources),
    }


def _refused_checks(refusal: RefusalKind) -> dict[str, bool]:
    if refusal is RefusalKind.EMPTY_ANSWER:
        return {"one_answer_block": True, "answer_not_empty": False}
    return {"one_answer_block": False}


def _shows_ids(prose: str, sources: Sources) -> bool:
    """Whether a source id appears in the prose as a word."""
    telling = filter(_is_telling, sources.by_id)
    return not _words(prose).isdisjoint(telling)


def _is_telling(name: str) -> bool:
    """Whether `name` can only be an id."""
    # Not words such as "gene" and not years such as "2017".
    marked = "_" in name or any(map(str.isdigit, name))
    return len(name) >= _SHORTEST_ID and marked and not name.isdigit()


def _words(text: str) -> set[str]:
    """All strings between spaces, quotes and brackets, and the words in them."""
    # Letters alone are no telling id: most tokens are left out here.
    tokens = [token for token in _TOKEN.findall(text) if not token.isalpha()]
    return {token.strip(".:!?*") for token in tokens}.union(_WORD.findall(" ".join(tokens)))
