"""Every trainer, by the name that it has on the command line."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from citemark_service.trainers.axolotl import AXOLOTL
from citemark_service.trainers.carr import CARR
from citemark_service.trainers.eval_protocol import EVAL_PROTOCOL
from citemark_service.trainers.nemo_gym import NEMO_GYM
from citemark_service.trainers.open_instruct import OPEN_INSTRUCT
from citemark_service.trainers.openrlhf import OPENRLHF
from citemark_service.trainers.plain_rows import CITEMARK
from citemark_service.trainers.skyrl import SKYRL
from citemark_service.trainers.slime import SLIME
from citemark_service.trainers.trainer import Trainer
from citemark_service.trainers.trl import TRL
from citemark_service.trainers.verifiers import VERIFIERS
from citemark_service.trainers.verl import VERL

_ALL: Final = (
    TRL,
    VERL,
    SLIME,
    OPENRLHF,
    NEMO_GYM,
    VERIFIERS,
    SKYRL,
    OPEN_INSTRUCT,
    CARR,
    EVAL_PROTOCOL,
    AXOLOTL,
)

TRAINERS: Final[Mapping[str, Trainer]] = MappingProxyType({each.name: each for each in _ALL})
LAYOUTS: Final[Mapping[str, Trainer]] = MappingProxyType({**TRAINERS, CITEMARK.name: CITEMARK})
"""The trainers, and Citemark's own rows."""
