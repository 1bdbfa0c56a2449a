"""open-instruct: the verifier that `dataset` names gets the row's `ground_truth`.

Its code verifier posts to `/test_program` and takes the mean of `results` as the reward, so that
`--code_api_url` reaches a judge without any code. If the response contains code blocks, the client
sends only the last one. It takes every error as a reward of 0.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from citemark_service.examples import ENVELOPE_TEXT, RESPONSE
from citemark_service.trainers.faults import Fault, error, json_text_faults, warning
from citemark_service.trainers.route import Body, Outcome, PostedRollout, Route, text_in
from citemark_service.trainers.rows import MESSAGES, Row
from citemark_service.trainers.trainer import Trainer


def parse_body(body: Body) -> list[PostedRollout]:
    return [PostedRollout({"tests": body.get("tests")}, text_in(body, "program"))]


def write_answer(outcomes: Sequence[Outcome], _: Body) -> dict[str, Any]:
    rewards = [outcome.reward for outcome in outcomes]
    return {"results": rewards, "runtimes": [0.0] * len(rewards)}


def find_faults(row: Row) -> Iterator[Fault]:
    messages, truth, name = row.get("messages"), row.get("ground_truth"), row.get("dataset")
    if isinstance(messages, list) and len(messages) > 1:
        last = messages[-1]
        if not isinstance(last, dict) or last.get("role") != "assistant":
            yield warning(
                "messages",
                "several messages, the last not an assistant's: some releases drop the last one",
                "put everything into one user message",
            )
    if not isinstance(truth, list):  # one for each of several verifiers
        yield from json_text_faults(truth, "ground_truth", "the column is text for all verifiers")
    names = name if isinstance(name, list) else [name]
    if not any(str(each).lower() in ("citemark", "code") for each in names):
        fix = 'write "citemark", or "code" for --code_api_url'
        yield error("dataset", "names no verifier of Citemark's", fix, str(name))


OPEN_INSTRUCT: Final = Trainer(
    name="open-instruct",
    title="open-instruct",
    carries="ground_truth, as JSON text",
    flags="python -m citemark_grpo.open_instruct open_instruct/grpo_fast.py",
    columns={"messages": MESSAGES, "ground_truth": str, "dataset": str},
    prompt_at=("messages",),
    text_prompt=False,
    text_at="ground_truth",
    own_columns=lambda _task, _index: {"dataset": "citemark"},
    faults=find_faults,
    routes=(
        Route(
            name="open_instruct",
            path="/test_program",
            client="open-instruct",
            read=parse_body,
            write=write_answer,
            deadline_s=24.0,  # the client gives up after 30 s, or a longer execution time
            setting="test_program_route",
            request={"program": RESPONSE, "tests": ENVELOPE_TEXT, "max_execution_time": 1.0},
            doc="`--code_api_url http://HOST:8000/test_program` with `dataset: code`, where "
            "`ground_truth` is the row's envelope as a JSON string, its question included. "
            "Served only where `test_program_route` is set.",
        ),
    ),
)
