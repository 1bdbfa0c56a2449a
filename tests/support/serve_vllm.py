"""A real vLLM for programs that are no test: `PYTHONPATH=tests python -m support.serve_vllm`.

Prints its base URL and serves until its standard input ends. Where `make test-vllm` has not made
an environment, it prints nothing and ends with the reason on its standard error.
"""

import sys
import tempfile
from pathlib import Path

from support.vllm_server import VllmServer

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / ".venv-vllm" / "bin" / "python"
_MODEL = _ROOT / ".cache" / "smollm2-135m"


def main() -> int:
    """Serve; the exit status."""
    if not (_PYTHON.is_file() and _MODEL.is_dir()):
        sys.stderr.write("needs vLLM and a model of its own: make test-vllm\n")
        return 3
    with tempfile.TemporaryDirectory() as folder:
        server = VllmServer(_PYTHON, _MODEL, Path(folder) / "log")
        try:
            server.start()
            sys.stdout.write(server.base_url + "\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
