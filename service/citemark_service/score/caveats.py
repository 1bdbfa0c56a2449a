"""What a result's verdicts are to be taken with, as warnings of the whole result. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

from citemark_schemas import ScoreWarning, WarningKind
from citemark_schemas.verdict import Caveats


def warn_of_caveats(judged: Iterable[Caveats]) -> Iterator[ScoreWarning]:
    """One warning for each kind of caveat, with the number of verdicts that have it."""
    counts = Counter(kind for each in judged for kind in each.caveats)
    for kind, count in sorted(counts.items()):
        part = kind.removesuffix("_cut")
        message = f"the judge's context is too short: {count} verdicts saw the {part} cut"
        if kind is WarningKind.UNSURE:
            message = f"{count} verdicts are bare digits: the judge's logprobs were unusable"
        yield ScoreWarning(kind=kind, message=message, count=count)
