"""The command line of vLLM as a judge: which flags, and why each. Pure.

The facts are of vLLM's documentation of its engine arguments, of its sources in 0.32, and of
running that on a CPU.
"""

import re
from dataclasses import dataclass
from typing import Final

DEFAULT_MODEL: Final = "Qwen/Qwen3.5-35B-A3B-FP8"
DEFAULT_PORT: Final = 8001
"""The port of the setting `judge_url`."""

GPU_MEMORY_GB: Final = {"Qwen/Qwen3.5-35B-A3B-FP8": 42, "Qwen/Qwen3.5-35B-A3B": 84}
"""For weights and a working cache, by vLLM's recipe for this model."""

_INSTALL: Final = "pip install 'citemark[service,vllm]'"
_HYBRID: Final = re.compile(r"qwen-?3(\.[5-9]|-?next)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of `vllm serve`, its values, and what it is good for in a judge."""

    name: str
    values: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Serving:
    """What a user chooses of the server; the rest is recommended."""

    model: str = DEFAULT_MODEL
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    retention: int | None = None
    """Tokens between kept recurrent states, a multiple of the block size that vLLM logs at its
    start; 0 keeps the last of each prompt, None all that arise."""
    extra: tuple[str, ...] = ()
    """Further arguments. They come last, and of a repeated flag vLLM takes the last."""

    @property
    def base_url(self) -> str:
        """What `judge_url` is to be, seen from the same machine."""
        anywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound
        host = "127.0.0.1" if anywhere else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    @property
    def hybrid(self) -> bool:
        """Whether the name is of a family that mixes attention with recurrent layers."""
        return _HYBRID.search(self.model) is not None


def serve_flags(serving: Serving) -> tuple[Flag, ...]:
    """The recommended flags for a judge that has one GPU to itself, in order."""
    align = (
        "a shared prefix can be resumed where recurrent state was kept, at a block's end; "
        "only for hybrid models, one without such layers fails on its first request"
    )
    retention = (
        "None keeps each state that arises, at the end of a step and where two prompts part; the "
        "default drops the first kind, which a group needs when its prompts take several steps"
    )
    flags = (
        ("--served-model-name", serving.model, "the name that CITEMARK_JUDGE_MODEL has to match"),
        ("--language-model-only", None, "no image or video tower: its memory goes to the cache"),
        ("--max-model-len", "32768", "holds the longest prompt, 80,000 bytes, with its reply"),
        ("--max-num-batched-tokens", "16384", "judging is nearly all prefill: few large steps"),
        ("--gpu-memory-utilization", "0.92", "the GPU is the judge's alone; the rest is slack"),
        ("--enable-prefix-caching", None, "samples of a group share rules, question and sources"),
        *((("--mamba-cache-mode", "align", align),) if serving.hybrid else ()),
        ("--prefix-cache-retention-interval", str(serving.retention), retention),
        (
            "--default-chat-template-kwargs",
            '{"enable_thinking": false}',
            "verdicts, not reasoning; for others than this service, which asks for it itself",
        ),
        ("--generation-config", "vllm", "no sampling defaults of the model: verdicts are greedy"),
        ("--scheduling-policy", "priority", "training goes before audits that are sent with 10"),
        ("--enable-prompt-tokens-details", None, "replies say how many prompt tokens were cached"),
        ("--host", serving.host, "vLLM has no login: loopback unless told otherwise"),
        ("--port", str(serving.port), "where CITEMARK_JUDGE_URL points"),
    )
    return tuple(Flag(name, () if value is None else (value,), why) for name, value, why in flags)


def serve_arguments(serving: Serving) -> tuple[str, ...]:
    """What follows `vllm serve`: the model, the recommended flags, then the extra ones."""
    flags = (part for flag in serve_flags(serving) for part in (flag.name, *flag.values))
    return (serving.model, *flags, *serving.extra)


def obstacles(serving: Serving, *, launcher: str | None, accelerator: bool) -> tuple[str, ...]:
    """What keeps vLLM from starting here, one sentence each; empty where nothing is known to.

    Args:
        launcher: path of the `vllm` command, None where there is none.
        accelerator: whether this machine shows a GPU.
    """
    found = []
    if launcher is None:
        found.append(
            "vLLM is not installed here: there is no `vllm` command beside this Python or on "
            f"PATH; {_INSTALL} (Linux, several GB)"
        )
    if not accelerator:
        memory = GPU_MEMORY_GB.get(serving.model)
        needs = f"; {serving.model} needs one with about {memory} GB" if memory else ""
        found.append(f"no GPU is seen here{needs}; --any-device starts vLLM all the same")
    return tuple(found)
