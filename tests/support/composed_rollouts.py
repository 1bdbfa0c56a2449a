"""Rollouts composed of single claims that people labelled, so that the right F1 is known exactly.

    PYTHONPATH=tests python -m support.composed_rollouts ../shared/data rollouts.jsonl
    citemark agree --judge vllm --judge-url … rollouts.jsonl

Each answers several questions with one claim each. A claim cites its own source, or a neighbour's,
which does not support it, or nothing: then it is an uncited fact. As each has one citation at most,
precision, recall and F1 are all Σ support / (claims + uncited).
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = ("attributionbench", "scifact", "fgrlhf_support", "wice")
SUPPORT = {"supported": 1.0, "partially_supported": 0.5, "not_supported": 0.0}
CLAIMS = 6


def compose(rows: list[dict[str, Any]], count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """`count` rollouts, each of six of the rows in an order drawn by `seed`."""
    draw = random.Random(seed)
    for number in range(count):
        chosen = draw.sample(rows, CLAIMS)
        ids = [f"S{place}" for place in range(1, CLAIMS + 1)]
        sources, pieces, labels, earned, facts = [], [], {}, 0.0, 0
        for place, (own, row) in enumerate(zip(ids, chosen, strict=True)):
            text = "\n".join(each["text"] for each in row["snippets"])
            sources.append(f"<snippet id={own}>{_without_tags(text)}</snippet>")
            claim = " ".join(_without_tags(row["claim"]).split())
            cited = draw.choice([own, own, own, ids[place - 1], ""])
            facts += 1
            if not cited:
                pieces.append(f"{claim.rstrip('.')}.")
                continue
            support = SUPPORT[row["human_label"]] if cited == own else 0.0
            earned, labels[claim] = earned + support, support
            pieces.append(f"<snippet id={cited}>{claim}</snippet>")
        questions = dict.fromkeys(row["question"] for row in chosen)
        yield {
            "id": f"composed-{number}",
            "question": " ".join(questions),
            "tool_output": "\n".join(sources),
            "response": f"<answer>{' '.join(pieces)}</answer>",
            "labels": labels,
            "expected": {"f1_default": earned / facts},
        }


def _without_tags(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """Labelled claims of one sentence, whatever their source."""
    files = ((folder / f"{name}.jsonl").read_text("utf-8").splitlines() for name in FILES)
    rows = (json.loads(line) for lines in files for line in lines)
    return [row for row in rows if len(row["claim"]) < 300 and "\n" not in row["claim"]]


if __name__ == "__main__":
    composed = compose(read_claims(Path(sys.argv[1])), 200)
    Path(sys.argv[2]).write_text("".join(f"{json.dumps(row)}\n" for row in composed))
