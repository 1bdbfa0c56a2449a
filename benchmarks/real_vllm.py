"""A vLLM on the CPU in a process of its own.

    PYTHONPATH=tests python benchmarks/real_vllm.py

Prints its base URL, and serves until its standard input ends. Where `make test-vllm` has not made
the environment, it prints nothing and ends with status 1 and the reason on its standard error.
"""

import sys
import tempfile
from pathlib import Path

from support.vllm_server import PYTHON, SMALL, serving_vllm

if __name__ == "__main__":
    if not (PYTHON.is_file() and SMALL.is_dir()):
        sys.exit("needs vLLM and a model of its own: make test-vllm")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_vllm(SMALL, Path(folder), "--dtype", "float32") as server,
    ):
        sys.stdout.write(server.base_url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
