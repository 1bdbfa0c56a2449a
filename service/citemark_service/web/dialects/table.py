"""Which dialects a service speaks."""

from citemark_service.settings import Settings
from citemark_service.web.dialects.dialect import Dialect
from citemark_service.web.dialects.evaluate import EVALUATE, REWARD_ALIAS
from citemark_service.web.dialects.nemo_gym import NEMO_GYM, VERIFIERS
from citemark_service.web.dialects.open_instruct import OPEN_INSTRUCT
from citemark_service.web.dialects.openrlhf import OPENRLHF
from citemark_service.web.dialects.slime import SLIME


def dialects(settings: Settings) -> tuple[Dialect, ...]:
    """All that are always there, and those that the settings turn on."""
    optional = (OPEN_INSTRUCT,) if settings.test_program_route else ()
    return (OPENRLHF, SLIME, NEMO_GYM, VERIFIERS, EVALUATE, REWARD_ALIAS, *optional)
