# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container section of the CIS Docker Benchmark 1.6, judged from the kernel and the engine.

Each item is judged for all our containers together: `passed`, `failed`, `unknown`, or `explained` where we
do otherwise, or have nothing to apply it to, for a reason that stands beside it (isolation_cis_items). As a
check an explained item passes and its evidence says that it is explained; what could not be seen never passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Optional

from .findings import Finding, Severity, clean_text
from .isolation_container import HostView, Target
from .isolation_report import NotSeenError, Report, dig
from .procfs import ProcFS

PASSED, EXPLAINED, UNKNOWN, FAILED = "passed", "explained", "unknown", "failed"
_RANK = (PASSED, EXPLAINED, UNKNOWN, FAILED)
STANDING = ("relay", "ollama", "gateway")


@dataclass(frozen=True)
class Ruling:
    """How one item stands.

    `covered` says that a finding of the isolation probes names it already, `moot` that this machine cannot
    have what is asked for: unknown then, and the verdict does without it.
    """

    status: str
    evidence: str
    explanation: str = ""
    covered: bool = False
    moot: bool = False


@dataclass
class View:
    """What the items are judged from: the report of the probes, the containers that run, and the engine's words."""

    report: Report
    proc: ProcFS
    host: HostView
    targets: list[Target]
    roles: tuple[str, ...] = STANDING
    swarm: Optional[str] = None
    selinux: bool = False
    members: Callable[[Target], list[str]] = field(default=lambda _target: [])

    def absent(self) -> list[str]:
        """Return the roles that are expected and do not run, or are not known to."""
        running = {target.role for target in self.targets}
        return [role for role in self.roles if role not in running]


@dataclass(frozen=True)
class Item:
    """One item of the benchmark: its number, what it asks for in our words, how it is judged, and how it is mended."""

    number: str
    title: str
    judge: Callable[[View], Ruling]
    remedy: str

    @property
    def check_id(self) -> str:
        """The id of its check: 5.1 is cis-5-1."""
        return "cis-{0}".format(self.number.replace(".", "-"))


def judge(view: View, items: Iterable[Item]) -> list[dict[str, str]]:
    """Judge every item into the view's report and return {id, check, title, status, evidence, explanation} of each."""
    rows = []
    for item in items:
        try:
            ruling = item.judge(view)
        except NotSeenError as error:
            ruling = Ruling(UNKNOWN, str(error))
        # The engine's words may have any shape: a look that breaks on them has seen nothing.
        except Exception as error:  # noqa: BLE001
            ruling = Ruling(UNKNOWN, "{0}: {1}".format(type(error).__name__, error))
        evidence = clean_text(ruling.evidence)
        holds = {FAILED: False, UNKNOWN: None}.get(ruling.status, True)
        said = "explained: {0} ({1})".format(ruling.explanation, evidence) if ruling.explanation else evidence
        # A reader of the report has the number and wants to know what it asks for.
        view.report.record(item.check_id, holds, "{0}: {1}".format(item.title, said))
        if ruling.moot:
            view.report.inapplicable.add(item.check_id)
        if ruling.status == FAILED and not ruling.covered:
            code = item.check_id.upper()
            subject = "CIS Docker {0}".format(item.number)
            view.report.findings.append(Finding(code, Severity.MEDIUM, subject, evidence, item.remedy))
        rows.append(
            {
                "id": item.number,
                "check": item.check_id,
                "title": item.title,
                "status": ruling.status,
                "evidence": evidence,
                "explanation": ruling.explanation,
            }
        )
    return rows


# --- judges -----------------------------------------------------------------------------------------------
def by_probes(*suffixes: str) -> Callable[[View], Ruling]:
    """Return the judge of what the isolation probes have recorded for each container under these suffixes."""

    def look(view: View) -> Ruling:
        roles = sorted({target.role for target in view.targets} | set(view.roles))
        if not roles:
            raise NotSeenError("no container is looked at")
        worst, evidence, moot = PASSED, "", True
        for role in roles:
            for suffix in suffixes:
                check_id = "{0}-{1}".format(role, suffix)
                found = view.report.checks.get(check_id)
                status = found.status if found else UNKNOWN
                said = "{0}: {1}".format(check_id, found.evidence if found else "this was not looked at")
                if _RANK.index(status) > _RANK.index(worst):
                    worst, evidence = status, said
                moot = moot and (status == PASSED or check_id in view.report.inapplicable)
        evidence = evidence or "{0} holds for {1}".format(" and ".join(suffixes), ", ".join(roles))
        return Ruling(worst, evidence, covered=True, moot=moot and worst == UNKNOWN)

    return look


def by_engine(
    look: Callable[[Target, dict[str, Any]], Optional[str]], fine: str, covered: bool = False
) -> Callable[[View], Ruling]:
    """Return the judge of the engine's description: `look` returns what is wrong with a container, or None.

    `covered` says that the isolation probes name what is wrong too.
    """

    def judge_all(view: View) -> Ruling:
        bad = []
        for target in view.targets:
            wrong = look(target, host_config(target))
            if wrong:
                bad.append("{0}: {1}".format(target.name, wrong))
        if bad:
            return Ruling(FAILED, "; ".join(bad), covered=covered)
        if view.absent() or not view.targets:
            raise NotSeenError("not known: {0}".format(", ".join(view.absent()) or "any container"))
        return Ruling(PASSED, fine)

    return judge_all


def both(*judges: Callable[[View], Ruling]) -> Callable[[View], Ruling]:
    """Return the judge that is as strict as the strictest of several; what one cannot see does not hide a failure."""

    def judge_all(view: View) -> Ruling:
        rulings = []
        for one in judges:
            try:
                rulings.append(one(view))
            except NotSeenError as error:
                rulings.append(Ruling(UNKNOWN, str(error)))
        return max(rulings, key=lambda ruling: _RANK.index(ruling.status))

    return judge_all


def each(look: Callable[[Target, dict[str, Any]], Ruling]) -> Callable[[View], Ruling]:
    """Return the judge that looks at each container and keeps the strictest ruling, with every explanation."""

    def judge_all(view: View) -> Ruling:
        if view.absent() or not view.targets:
            rulings = [Ruling(UNKNOWN, "not known: {0}".format(", ".join(view.absent()) or "any container"))]
        else:
            rulings = []
        for target in view.targets:
            try:
                found = look(target, host_config(target))
            except NotSeenError as error:
                found = Ruling(UNKNOWN, str(error))
            rulings.append(
                Ruling(found.status, "{0}: {1}".format(target.name, found.evidence), found.explanation, found.covered)
            )
        worst = max(rulings, key=lambda ruling: _RANK.index(ruling.status)).status
        same = [ruling for ruling in rulings if ruling.status == worst]
        explanation = " ".join(dict.fromkeys(ruling.explanation for ruling in same if ruling.explanation))
        return Ruling(worst, "; ".join(ruling.evidence for ruling in same), explanation)

    return judge_all


def host_config(target: Target) -> dict[str, Any]:
    """Return how the engine was asked to run a container. Raises NotSeenError where it does not say.

    A key that is not there means that nothing was asked for, but only in an answer that is one: every engine
    names the network mode.
    """
    config = dig(target.inspect, "HostConfig")
    if not isinstance(config, dict) or not isinstance(config.get("NetworkMode"), str):
        raise NotSeenError("the engine's answer for {0} holds no HostConfig".format(target.name))
    return config


def words(value: Any, what: str) -> list[str]:
    """Return a list of texts of the engine's answer; null is an empty one. Raises NotSeenError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise NotSeenError("the engine's {0} is no list of texts".format(what))
    return value


def word(value: Any, what: str) -> str:
    """Return a text of the engine's answer; null is an empty one. Raises NotSeenError for anything else."""
    if value is not None and not isinstance(value, str):
        raise NotSeenError("the engine's {0} is no text".format(what))
    return clean_text(value or "", 200)


def mounts(target: Target) -> list[dict[str, Any]]:
    """Return the engine's list of a container's mounts. Raises NotSeenError when it is none."""
    found = dig(target.inspect, "Mounts")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise NotSeenError("the engine lists no mounts of {0}".format(target.name))
    return found


def runs_sshd(names: Iterable[str]) -> list[str]:
    """Return the names among those of processes that belong to a remote shell's server."""
    return [name for name in names if re.match(r"^(sshd|dropbear)", name)]
