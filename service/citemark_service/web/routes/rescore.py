"""`POST /v1/rescore`: kept rewards under other knobs, without a judge."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from fastapi import APIRouter, Request
from pydantic import ValidationError

from citemark_schemas import (
    Knobs,
    LeftOut,
    ProblemDetail,
    RescoreRequest,
    RescoreResponse,
    RewardMove,
    StepRewards,
    to_details,
)
from citemark_service.errors import (
    InvalidRequest,
    LedgerError,
    LedgerOff,
    LedgerUnavailable,
    NotKept,
    TooLarge,
)
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Numbers, Place
from citemark_service.printable import join_names
from citemark_service.rescoring.compare import SHOWN, Change, Ranked, compare
from citemark_service.web.admission import Admission, Quota
from citemark_service.web.intake import read_body, run_unless_gone
from citemark_service.web.openapi import RESCORE_BODY, UNKEPT

_log = logging.getLogger("citemark.ledger")

_BODY_BYTES: Final = 65_536
_WORK_S: Final = 30.0
_RETRY_AFTER_S: Final = 5.0


def rescore_router(view: LedgerReader | None, admission: Admission) -> APIRouter:
    router = APIRouter(tags=["ledger"])
    # One at a time, in a thread: comparisons may be slow or refused, rewards may not.
    seats = Quota(1, "rescorings")

    @router.post(
        "/v1/rescore",
        operation_id="rescore",
        summary="Compare kept rewards with those under other knobs",
        responses={**UNKEPT},
        # By hand, because the body is read raw.
        openapi_extra=RESCORE_BODY,
    )
    async def rescore(request: Request) -> RescoreResponse:
        """Compute kept rewards again from the verdicts they were made of; no judge is asked.

        Say which rollouts (`run`, `step`, `group`; the latest `limit`) and what is different:
        any knob, and `weights` by the titles of criteria. What would need a verdict that was
        never given is left out, and counted by reason. One comparison runs at a time.
        """
        admission.require_open()
        if view is None:
            raise LedgerOff("the service keeps no ledger: CITEMARK_LEDGER is off")
        with admission.buffered.hold() as held:
            body = await read_body(request, admission, held, limit=_BODY_BYTES)
        try:
            wanted = RescoreRequest.model_validate_json(body)
        except ValidationError as error:
            raise InvalidRequest.of(to_details(error)) from error
        seats.take(1)
        given_up = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(None, _compare, view, wanted, given_up)
        # The seat is free when the thread is, which may be later than the answer.
        work.add_done_callback(lambda _: seats.give(1))
        try:
            # Shielded, since a thread cannot be cancelled.
            return await run_unless_gone(request.receive, asyncio.shield(work))
        except LedgerError as error:
            _log.error("rescoring failed: %s", error)
            message = "the ledger cannot be read now; the service's log says why"
            raise LedgerUnavailable(message, retry_after_s=_RETRY_AFTER_S) from error
        finally:
            # Ends the thread where the client left before it was done.
            given_up.set()

    return router


def _compare(
    view: LedgerReader, wanted: RescoreRequest, given_up: threading.Event
) -> RescoreResponse:
    ends_at = time.monotonic() + _WORK_S
    place = Place(wanted.run, wanted.step, wanted.group)
    given = wanted.model_fields_set & Knobs.model_fields.keys()
    knobs = Knobs.model_validate({name: getattr(wanted, name) for name in given})

    def whole(numbers: Numbers) -> Iterator[KeptRollout]:
        for each in view.whole(numbers):
            yield each
            if time.monotonic() > ends_at or given_up.is_set():
                raise TooLarge(f"more than {_WORK_S:g} s of work: lower `limit`, or name a step")
            # Hands the interpreter to the event loop before this thread's turn is over.
            time.sleep(0)

    with view.within(_WORK_S):
        numbers = view.numbers(place, limit=wanted.limit, grouped=True)
        if not numbers:
            chosen = asdict(place).items()
            named = [f"of {name} {value!r}" for name, value in chosen if value is not None]
            raise NotKept(f"no rollout is kept {' '.join(named)}")
        found = compare(whole(numbers), Change(knobs, wanted.weights), moves=wanted.moves)
    if found.untitled:
        there = join_names(found.titles, SHOWN, separator="; ")
        message = f"no criterion has it; there are: {there}"
        raise InvalidRequest.of(
            [ProblemDetail(loc=f"weights.{title}", message=message) for title in found.untitled]
        )
    return RescoreResponse(
        **asdict(found.comparison),
        complete=len(numbers) < wanted.limit,
        steps=tuple(StepRewards(**asdict(each)) for each in found.steps),
        moves=tuple(map(_to_move, found.moves)),
        left_out=tuple(LeftOut(reason=why, rollouts=n) for why, n in found.left_out.items()),
    )


def _to_move(each: Ranked) -> RewardMove:
    place = zip(("run", "step", "group"), each.pair.group, strict=True)
    fields = asdict(each.pair) | dict(place)
    return RewardMove(**fields, old_rank=each.old_rank, new_rank=each.new_rank)
