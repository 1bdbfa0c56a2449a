"""open-instruct: `POST /test_program`, what its code verifier asks. Pure.

A row of data set `code` gets as its reward the mean of `results`, so that `--code_api_url` leads
to a judge without any code. What the client does with the response first is its own: of one that
holds a code block only the last block is sent. It reads every error as 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from citemark_service.web.dialects.dialect import Asked, Dialect, Outcome, Sample, text
from citemark_service.web.dialects.examples import ENVELOPE_TEXT, RESPONSE, REWARD


def _read(body: Mapping[str, Any]) -> list[Sample]:
    return [Sample({"tests": body.get("tests")}, text(body, "program"))]


def _write(outcomes: Sequence[Outcome], _: Asked) -> dict[str, Any]:
    return {
        "results": [outcome.reward for outcome in outcomes],
        "runtimes": [0.0] * len(outcomes),
    }


OPEN_INSTRUCT: Final = Dialect(
    name="open_instruct",
    path="/test_program",
    client="open-instruct",
    read=_read,
    write=_write,
    deadline_s=24.0,  # the client gives up after 30 s, later only for a longer execution time
    request={"program": RESPONSE, "tests": ENVELOPE_TEXT, "max_execution_time": 1.0},
    answer={"results": [REWARD], "runtimes": [0.0]},
    doc="`--code_api_url http://HOST:8000/test_program` with `dataset: code`, where "
    "`ground_truth` is the row's envelope as a JSON string, its question included. Served only "
    "where `test_program_route` is set.",
)
"""See the module's docstring."""
