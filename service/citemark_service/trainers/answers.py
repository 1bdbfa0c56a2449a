"""An answer made up from a row's own sources, for trying out a reward. Pure."""

import re
from typing import Final

from citemark_schemas import Rollout
from citemark_service.parsing.sources import read_sources

_CLAIMS: Final = 3
_LONGEST: Final = 240
_CITABLE: Final = re.compile(r"[^\s,<>\"'=]+")
_SENTENCE: Final = re.compile(r"[^.!?]{1,2000}[.!?]?")


def honest_answer(rollout: Rollout) -> str:
    """What the first sources begin with, each cited; one sentence without a citation if none can.

    A judge should like it well, since it says what the sources say.
    """
    sources = read_sources(rollout.tool_output, rollout.snippets).by_id.values()
    cited = [(each.id, _beginning(each.text)) for each in sources if _CITABLE.fullmatch(each.id)]
    claims = [f"<snippet id={name}>{text}</snippet>" for name, text in cited if text]
    said = " ".join(claims[:_CLAIMS]) or "The search results do not answer the question."
    return f"<answer>{said}</answer>"


def _beginning(text: str) -> str:
    words = " ".join(re.sub(r"[<>]", " ", text[: 8 * _LONGEST]).split())
    sentence = _SENTENCE.match(words)
    return sentence.group()[:_LONGEST].strip() if sentence else ""
