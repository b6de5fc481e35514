# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the server in the namespace of the relay that runs now (row I1: start order and restarts).

A relay that was restarted owns a new network namespace; a server that was started before sits in the former
one, where nobody reaches it, and at boot the engine may try the server before the relay. Run by
rampart-order.service whenever the relay's socket directory changes. A server that somebody stopped stays
stopped: containment must not be undone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Optional

from .engine import Engine, EngineError

PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
# How often in a row the server has to be seen in its place: an engine at boot may still be at it.
SEEN_IN_PLACE = 3
STOP_GRACE_SECONDS = 5


class Order:
    """The containers by name, the engine that runs them, and where the kernel shows their namespaces."""

    def __init__(self, engine: Engine, relay: str, server: str, proc: str = "/proc") -> None:
        self.engine = engine
        self.relay = relay
        self.server = server
        self.proc = proc

    def step(self) -> tuple[Optional[str], bool]:
        """Look once and do what is missing; return (what was done or seen, whether that is how it should stay).

        None stands for "wait": the relay is on its way, or a process ended while it was looked at. Raises
        EngineError.
        """
        relay, server = self.engine.container_or_none(self.relay), self.engine.container_or_none(self.server)
        if relay is None or server is None:
            return "there is no relay or no server", True
        # Of a former relay: the play that made the new one makes the server anew as well.
        mode = _dig(server, "HostConfig", "NetworkMode")
        if mode not in ("container:{0}".format(_dig(relay, "Id")), "container:{0}".format(self.relay)):
            return "the server belongs to another relay", True
        if _dig(relay, "State", "Running") is not True:
            return None, False
        if _dig(server, "State", "Running") is True:
            there, here = self._namespace(relay), self._namespace(server)
            if there is None or here is None:
                return None, False
            if there == here:
                return "the server is in the relay's namespace", True
            self.engine.stop_container(self.server, STOP_GRACE_SECONDS)
            self.engine.start_container(self.server)
            return "restarted the server, which sat in a namespace that the relay has left", False
        # The engine keeps the reason of a start that failed; of a container that was stopped it keeps none.
        if _dig(server, "State", "Error") and not _dig(server, "State", "Restarting"):
            self.engine.start_container(self.server)
            return "started the server, which the engine had tried before the relay ran", False
        return None, False

    def _namespace(self, container: dict[str, Any]) -> Optional[str]:
        try:
            return os.readlink("{0}/{1}/ns/net".format(self.proc, int(_dig(container, "State", "Pid"))))
        except (OSError, TypeError, ValueError):
            return None


def _dig(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def keep(
    order: Order, patience: float = PATIENCE_SECONDS, pause: Callable[[float], None] = time.sleep
) -> tuple[bool, list[str]]:
    """Look and act until all is in place or `patience` seconds of pauses are over; return (in place, what was said).

    A server that is stopped without an error is left as it is, which counts as in place.
    """
    said: list[str] = []
    error: Optional[EngineError] = None
    good, waited = 0, 0.0
    while waited < patience:
        try:
            word, stays = order.step()
            error = None
        except EngineError as caught:
            word, stays, error = None, False, caught
        if word and word not in said:
            said.append(word)
        good = good + 1 if stays else 0
        if good >= SEEN_IN_PLACE:
            return True, said
        pause(PAUSE_SECONDS)
        waited += PAUSE_SECONDS
    if error is not None:
        said.append("{0}: {1}".format(error.code, error))
        return False, said
    said.append("left as it is: relay or server is stopped")
    return True, said


def main(arguments: list[str]) -> int:
    """Run once for `RELAY SERVER SOCKET`; print what was done, one line each, and return the exit status."""
    if len(arguments) != 3:
        sys.stderr.write("usage: RELAY SERVER SOCKET\n")
        return 2
    relay, server, socket_path = arguments
    settled, said = keep(Order(Engine(socket_path), relay, server))
    for line in said:
        sys.stdout.write(line + "\n")
    if not settled:
        sys.stderr.write("ORDER-NOT-SETTLED: look at `docker ps -a`, or run phase3_harden.yml for this host\n")
    return 0 if settled else 1
