# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb `host`: cut a host off with a prepared nftables table, but for loopback and its administrators' SSH."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable

from .findings import Finding, FindingError, Severity, clean_text, refuse
from .watch_actor_config import QUARANTINE_TABLE, ActorConfig, quarantine_problem
from .watch_actor_plan import ActError, Plan, RefusedError

NFT_SECONDS = 10.0
RULES_MAX_BYTES = 64 * 1024
# Nothing of the caller's environment reaches nft.
NFT_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class NftError(Exception):
    """nft refused, or did not end in time; the text is its first words."""


class Quarantine:
    """The table of the quarantine, through nft. `file` is the prepared rule set, `program` the path of nft."""

    def __init__(self, file: str, program: str = "/usr/sbin/nft") -> None:
        self.file = file
        self.program = program

    def check(self) -> None:
        """Raise FindingError (WATCH-QUARANTINE-RULES) unless the prepared rule set is root's, ours alone, and sound."""
        try:
            with open(self.file, "rb") as stream:
                found = os.fstat(stream.fileno())
                data = stream.read(RULES_MAX_BYTES + 1)
        except OSError as error:
            raise self._bad(error.strerror) from None
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise self._bad("others than root can write to it")
        problem = (
            "it is too long" if len(data) > RULES_MAX_BYTES else quarantine_problem(data.decode("utf-8", "replace"))
        )
        if problem:
            raise self._bad(problem)
        try:
            self._run("-c", "-f", self.file)
        except NftError as error:
            raise self._bad(error) from None

    def in_force(self) -> bool:
        """Whether the table is loaded. Raises NftError."""
        words = self._run("list", "tables").split()
        return QUARANTINE_TABLE in words

    def load(self) -> None:
        """Load the prepared rule set: one transaction, our table alone. Raises NftError."""
        self._run("-f", self.file)

    def remove(self) -> None:
        """Remove our table alone; none there is no error. Raises NftError."""
        table = "inet {0}".format(QUARANTINE_TABLE)
        self._run("add table {0}; delete table {0}".format(table))

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=NFT_ENVIRONMENT,
                timeout=NFT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NftError("nft did not end within {0:g} s".format(NFT_SECONDS)) from None
        except OSError as error:
            raise NftError("{0}: {1}".format(self.program, error.strerror)) from None
        if done.returncode != 0:
            raise NftError("nft: {0}".format(clean_text(done.stderr.decode("utf-8", "replace"), 300)))
        return done.stdout.decode("utf-8", "replace")

    def _bad(self, text: object) -> FindingError:
        remedy = "Run the role isolation_watch again; it writes the file and checks it."
        return refuse("WATCH-QUARANTINE-RULES", self.file, text, remedy)


class HostActs:
    """Plans of the verb. `look` returns the findings of the actor's own look at isolation."""

    def __init__(self, config: ActorConfig, quarantine: Quarantine, look: Callable[[], list[Finding]]) -> None:
        self.config = config
        self.quarantine = quarantine
        self.look = look

    def host(self, _target: dict[str, object]) -> Plan:
        """Plan to cut the host off, if the actor itself sees a critical finding. Raises RefusedError, NftError."""
        if self.quarantine.in_force():
            raise RefusedError("the host is in quarantine already")
        critical = [item for item in self.look() if item.severity is Severity.CRITICAL]
        if not critical:
            raise RefusedError("nothing critical can be seen on this host")
        try:
            self.quarantine.check()
        except FindingError as error:
            raise RefusedError(str(error)) from None

        def act() -> list[str]:
            try:
                self.quarantine.load()
                loaded = self.quarantine.in_force()
            except NftError as error:
                raise ActError(error, []) from error
            if not loaded:
                raise ActError("nft loaded the rule set, but the table is not there", [])
            return ["loaded nftables table inet {0}".format(QUARANTINE_TABLE)]

        checked = ["{0}: {1}: {2}".format(item.code, item.subject, item.evidence) for item in critical[:10]]
        before = {"table": "absent", "rules": self.quarantine.file}
        return Plan(checked, before, {"action": "remove-quarantine"}, act)
