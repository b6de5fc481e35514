# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A throw-away clone of a container, in which a tiny program is run: what only somebody inside can try.

The clone has the image, the user and the whole HostConfig of the original, so its seccomp filter, its limits and its
no-new-privileges bit too. It has no network (it must not appear in the original's namespace), a PID namespace of its
own in any case, no GPU and no restart, and it is removed whatever happens. The program is bind-mounted, read-only, from
a directory of root's.
"""

from __future__ import annotations

import copy
import errno
import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from typing import Any, Optional

from . import attack_probe
from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters, name_of
from .engine import Engine, EngineError
from .isolation_report import dig
from .procfs import ProcError, ProcFS

CLONE_NAME = "rampart-attack-clone"
LABEL = "rampart.component"
PROBE = "/rampart-probe"
# Errno values that say "not you"; any other means that the kernel looked at what was asked.
NOT_YOU = (errno.EPERM, errno.EACCES, errno.ENOSYS)
KILLED_BY_FILTER = 128 + 31
KILLED = 128 + 9
MEMORY_FACTOR = 4
UNLIMITED_FORKS = 1024

Answer = tuple[str, str, dict[str, int]]


class Clone:
    """Clones one container. `inspect` is the engine's description of the original, `directory` where programs lie."""

    def __init__(self, engine: Engine, inspect: dict[str, Any], directory: str, proc: Optional[ProcFS] = None) -> None:
        self.engine = engine
        self.inspect = inspect
        self.directory = directory
        self.proc = proc or ProcFS()

    def attempt(self, function: str, parameters: Parameters) -> Answer:
        """Run one of the clone's functions; raises EngineError, OSError or ValueError when it could not be run."""
        if platform.machine() != attack_probe.MACHINE:
            return ERROR, "the program for inside exists for {0} only".format(attack_probe.MACHINE), {}
        if function == "system_call":
            return self._system_call(parameters)
        if function == "set_uid":
            return self._set_uid(parameters)
        if function == "fork_bomb":
            return self._fork_bomb(parameters)
        if function == "memory_bomb":
            return self._memory_bomb(parameters)
        raise ValueError("no such attack in a clone: {0}".format(function))

    def _system_call(self, parameters: Parameters) -> Answer:
        name = str(parameters["call"])
        program = attack_probe.system_call(name, list(parameters.get("arguments") or []))
        status, _state, _counts = self._run(program, {}, parameters)
        if status == KILLED_BY_FILTER:
            return REFUSED, "{0}: SIGSYS".format(name), {}
        if status in NOT_YOU:
            return REFUSED, "{0}: {1}".format(name, name_of(status)), {}
        if status == 0:
            return SUCCEEDED, "{0} was done".format(name), {}
        if status not in errno.errorcode:
            return ERROR, "{0}: the program ended with {1}".format(name, status), {}
        return SUCCEEDED, "{0} was looked at by the kernel ({1})".format(name, name_of(status)), {}

    def _set_uid(self, parameters: Parameters) -> Answer:
        status, _state, _counts = self._run(attack_probe.effective_root(), {}, parameters, 0o4755)
        if status == 0:
            return SUCCEEDED, "a set-uid program ran as root", {}
        if status == errno.EPERM:
            return REFUSED, "a set-uid program of root's ran as the container's user: the bit was ignored", {}
        return ERROR, "the program ended with {0}".format(status), {}

    def _fork_bomb(self, parameters: Parameters) -> Answer:
        limit = dig(self.inspect, "HostConfig", "PidsLimit")
        count = 2 * limit if isinstance(limit, int) and limit > 0 else UNLIMITED_FORKS
        status, _state, counts = self._run(attack_probe.forks(count), {}, parameters, count_pids=True)
        if status == 0:
            return SUCCEEDED, "{0} processes were started".format(count), counts
        if status == errno.EAGAIN:
            return REFUSED, "EAGAIN before {0} processes (limit {1})".format(count, limit), counts
        return ERROR, "the program ended with {0}".format(status), counts

    def _memory_bomb(self, parameters: Parameters) -> Answer:
        # A limit is lowered so that the bomb is small; where there is none none is made.
        limit, lowered = dig(self.inspect, "HostConfig", "Memory"), int(parameters["limit"])
        change = {}
        if isinstance(limit, int) and limit > 0:
            lowered = min(limit, lowered)
            change = {"Memory": lowered, "MemorySwap": lowered, "MemoryReservation": 0}
        size = MEMORY_FACTOR * lowered
        status, state, _counts = self._run(attack_probe.memory(size), change, parameters)
        killed = state.get("OOMKilled") is True
        if status == 0:
            return SUCCEEDED, "{0} bytes were used".format(size), {"oom": int(killed)}
        if status in (KILLED, errno.ENOMEM):
            return (
                REFUSED,
                "{0} before {1} bytes (limit {2})".format("killed" if status == KILLED else "ENOMEM", size, lowered),
                {"oom": int(killed)},
            )
        return ERROR, "the program ended with {0}".format(status), {}

    def config(self, program: str, change: dict[str, Any]) -> dict[str, Any]:
        """Return what the engine is given for a clone that runs `program` (a path on the host)."""
        host = copy.deepcopy(dig(self.inspect, "HostConfig") or {})
        host.update(
            {
                "NetworkMode": "none",
                # With the first process of a namespace of its own all that a bomb started ends.
                "PidMode": "",
                "PortBindings": {},
                "Links": None,
                "RestartPolicy": {"Name": "no"},
                "AutoRemove": False,
                "ContainerIDFile": "",
                "DeviceRequests": None,
                "Mounts": [*(host.get("Mounts") or []), {
                    "Type": "bind", "Source": program, "Target": PROBE, "ReadOnly": True}],
                **change,
            }
        )  # fmt: skip
        return {
            "Image": dig(self.inspect, "Image"),
            "User": dig(self.inspect, "Config", "User") or "",
            "Entrypoint": [PROBE],
            "Cmd": [],
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {LABEL: "attack"},
            "HostConfig": host,
        }

    def _run(
        self,
        program: bytes,
        change: dict[str, Any],
        parameters: Parameters,
        mode: int = 0o755,
        count_pids: bool = False,
    ) -> tuple[int, dict[str, Any], dict[str, int]]:
        """Return (exit status, the engine's State, counts). Raises EngineError, OSError or ValueError."""
        place = tempfile.mkdtemp(prefix=".attack-", dir=self.directory)
        try:
            path = write_program(place, program, mode)
            self.engine.remove_container(CLONE_NAME)
            self.engine.create_container(CLONE_NAME, self.config(path, change))
            self.engine.start_container(CLONE_NAME)
            return self._end(time.monotonic() + 4 * float(parameters["timeout"]) + 4, count_pids)
        finally:
            with suppress(EngineError):
                self.engine.remove_container(CLONE_NAME)
            shutil.rmtree(place, ignore_errors=True)

    def _end(self, deadline: float, count_pids: bool) -> tuple[int, dict[str, Any], dict[str, int]]:
        counts: dict[str, int] = {}
        while True:
            state = dig(self.engine.inspect_container(CLONE_NAME), "State") or {}
            if count_pids and state.get("Running") and isinstance(state.get("Pid"), int):
                self._count_pids(state["Pid"], deadline, counts)
            if not state.get("Running") and state.get("Status") == "exited":
                return int(state.get("ExitCode", -1)), state, counts
            if time.monotonic() > deadline:
                raise ValueError("the clone did not end in time")
            time.sleep(0.05)

    def _count_pids(self, pid: int, deadline: float, counts: dict[str, int]) -> None:
        """Read how often the limit of processes was met, until it was, or the clone and its control group are gone."""
        with suppress(ProcError, ValueError, IndexError):
            while not counts.get("pids") and time.monotonic() < deadline:
                text, _path = self.proc.cgroup_file(pid, "pids", "pids.events", "pids.events")
                counts["pids"] = int(text.split()[1])
                time.sleep(0.02)


def write_program(directory: str, program: bytes, mode: int) -> str:
    """Write a program into a directory of root's and return its path."""
    path = os.path.join(directory, "probe")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
    try:
        os.write(handle, program)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)
    return path
