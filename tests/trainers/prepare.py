"""Makes the environment that the tests of this folder drive: trainers, as their users have them.

    PYTHONPATH=tests python tests/trainers/prepare.py ENVIRONMENT

Exit status 3 where it cannot be installed, with the reason printed.
"""

import sys
from pathlib import Path

from support.environments import prepare

if __name__ == "__main__":
    # What NeMo Gym says it needs is newer than what the modules driven here do need.
    requirements = Path(__file__).with_name("requirements.txt")
    prepare(Path(sys.argv[1]), requirements, "--ignore-requires-python")
