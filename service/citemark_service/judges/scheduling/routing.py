"""Which server a call goes to.

A group goes to the server that has its prefix. Where none has it, rendezvous hashing of the
group's code and the servers' names decides (Thaler and Ravishankar, 1998): replicas of the
service agree, and a server that goes away moves only its own groups. A server that carries more
than a quarter of its slots beyond the least loaded one hands the group on to that one, and the
group stays there: the prefix is computed a second time, which costs less than the wait for a
quarter of the calls in flight.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Final

from citemark_service.judges.scheduling.server import Server

SPILL_SHARE: Final = 0.25
_HOMES_KEPT: Final = 4096


class Router:
    """Remembers where the groups are; everything else is the servers' own."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._homes: OrderedDict[str, Server] = OrderedDict()

    def pick(self, affinity: str, tried: Collection[Server]) -> Server:
        """The server for a call of the group `affinity`, which is empty where it has none.

        One that is up and not among `tried`, as long as there is one; where all are down, the
        call is sent all the same, so that it fails or succeeds by what a server really does.
        """
        fit = self._fit(tried)
        if len(fit) == 1:
            return fit[0]
        least = min(fit, key=_load)
        if not affinity:
            return least
        home = self._home(affinity, fit)
        if _load(home) > _load(least) + home.slots.limit * SPILL_SHARE:
            home = least
        if not tried:  # one call that failed does not move its group
            self._remember(affinity, home)
        return home

    def others(self, tried: Collection[Server]) -> bool:
        """Whether a server is up that is not among `tried`."""
        return any(server.up and server not in tried for server in self._servers)

    def _fit(self, tried: Collection[Server]) -> Sequence[Server]:
        up = [server for server in self._servers if server.health.up] or self._servers
        if not tried:
            return up
        return [server for server in up if server not in tried] or up

    def _home(self, affinity: str, fit: Sequence[Server]) -> Server:
        known = self._homes.get(affinity)
        if known is not None and known in fit:
            return known
        return max(fit, key=lambda server: _draw(affinity, server.name))

    def _remember(self, affinity: str, home: Server) -> None:
        self._homes[affinity] = home
        self._homes.move_to_end(affinity)
        if len(self._homes) > _HOMES_KEPT:
            self._homes.popitem(last=False)


def _load(server: Server) -> int:
    return server.slots.load


def _draw(affinity: str, name: str) -> bytes:
    return blake2b(f"{name} {affinity}".encode(), digest_size=8).digest()
