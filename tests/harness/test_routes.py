"""Every route under odd methods, queries, headers, bodies and timings, with `/healthz` beside.

REQUESTS=20000 .venv/bin/pytest tests/harness/test_routes.py --timeout 3600
"""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from support.judge_tasks import by_shape
from support.judged_service import running_judge
from support.odd_requests import routes_of, send, write_request
from support.scripted_judge import MODEL, ScriptedJudge
from support.service_process import service_process

REQUESTS = int(os.environ.get("REQUESTS", "1000"))


def test_no_request_is_a_defect_and_none_holds_up_the_others(tmp_path, record_property):
    limits = {"header_timeout_s": 1, "body_timeout_s": 1, "body_deadline_s": 2, "stream_idle_s": 1}
    judge = ScriptedJudge(by_shape(quote="It is", V=1, S=1, U=1, C=1, F=1))
    named = {"judge": "vllm", "judge_model": MODEL, "test_program_route": True}
    defects, waits = list[tuple[str, bytes]](), [0.0]
    with (
        running_judge(judge),
        service_process(tmp_path, judge_url=judge.url, **named, **limits) as service,
        ThreadPoolExecutor(9) as pool,
    ):
        url, asked = service.client.base_url, service.client.get("/openapi.json")
        routes = routes_of(asked.json())

        def attack(seed: int) -> str:
            dice = random.Random(seed)
            request = write_request(routes[seed % len(routes)], dice)
            status = send((url.host, url.port or 0), request, dice)
            if status >= "5" and status != "503":
                defects.append((status, request))
            return status

        attacks = [pool.submit(attack, seed) for seed in range(REQUESTS)]
        while not all(each.done() for each in attacks):
            start = time.monotonic()
            assert service.client.get("/healthz").status_code == 200
            waits.append(time.monotonic() - start)
            time.sleep(0.01)
        statuses = Counter(each.result() for each in attacks)
        log = service.log
    record_property("figures", f"{statuses}; /healthz waited {1000 * max(waits):.0f} ms at most")
    assert defects == []
    assert "Traceback" not in log
