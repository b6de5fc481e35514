# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: whether signed evidence may move models, images and the collection one environment up (row S9).

staging gets what passed dev's security tests, with a reviewer's signature; prod gets what passed staging's full
audit, with the security officer's. The same rules are applied when a promotion is made and each time something is
installed by it; only the age that is still accepted differs.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, controls, subjects, trust
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements

APPROVER = {"staging": "reviewer", "prod": "security_officer"}
RANK = {"demo": 0, "dev": 0, "staging": 1, "prod": 2}
TESTS_PHASE = 4


@dataclass(frozen=True)
class Judgement:
    """What was found of one envelope; it may be used where there are no findings."""

    envelope: attestation.Envelope
    statement: statements.Statement | None = None
    signers: tuple[trust.TrustedKey, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def require_target(target: str) -> None:
    """Raise FindingError (PROMOTION-BACKWARD) unless something can be promoted to `target` at all."""
    if target not in statements.PREVIOUS:
        raise refuse(
            "PROMOTION-BACKWARD",
            target,
            "nothing is promoted to it: promotion goes from dev to staging and from staging to prod",
            "Bring changes to dev through the sources; nothing flows back.",
        )


def judge(
    envelope: attestation.Envelope,
    target: str,
    trusted: trust.Trust,
    catalogue: Sequence[controls.Control],
    now: datetime.datetime,
    max_age_days: int | None,
) -> Judgement:
    """Hold an envelope against the rules of `target`; never raises for what the envelope says.

    `max_age_days` bounds the age of the oldest phase of any host; None does not. Signatures come first: of an
    envelope that somebody else signed or changed, nothing is read.
    """
    try:
        require_target(target)
        signed_by = trust.signers(envelope, trusted, now)
        statement = statements.parse(envelope)
        for key in signed_by:
            if key.role == "evidence":
                trust.require_usable(key, statement.created_at)
    except FindingError as error:
        return Judgement(envelope, findings=(error.finding,))
    astray = _direction(statement, target)
    if astray:
        # Whatever else may be said of it would be said of another promotion.
        return Judgement(envelope, statement, signed_by, tuple(astray))
    findings = [
        *_roles(statement, target, signed_by),
        *_times(statement, target, now, max_age_days),
        *_results(statement, target, catalogue),
    ]
    everybody = list(signed_by)
    if target == "prod":
        before, chain = _chain(statement, trusted, catalogue, now)
        everybody.extend(before)
        findings.extend(chain)
    findings.extend(one_role_each(everybody))
    return Judgement(envelope, statement, signed_by, tuple(findings))


def critical(code: str, subject: str, seen: str, remedy: str) -> Finding:
    """Return a finding of the highest severity: everything that stops a promotion is one."""
    return Finding(code, Severity.CRITICAL, subject, seen, remedy)


def _direction(statement: statements.Statement, target: str) -> list[Finding]:
    source = statements.PREVIOUS[target]
    if statement.environment == source and statement.promotes_to == target:
        return []
    back = RANK[statement.environment] >= RANK[target]
    return [
        critical(
            "PROMOTION-BACKWARD" if back else "PROMOTION-ENVIRONMENT",
            target,
            f"the evidence is {statement.environment}'s, for {statement.promotes_to or 'no promotion'}",
            f"Give the signed evidence of {source}.",
        )
    ]


def _roles(statement: statements.Statement, target: str, signed_by: Sequence[trust.TrustedKey]) -> list[Finding]:
    """Return what is wrong with who signed: the evidence's environment and the target's approver, nobody else."""
    approver = APPROVER[target]
    places = {"evidence": statement.environment, approver: target}
    findings = [
        critical(
            "ATTESTATION-ROLE",
            f"key {key.keyid[:16]} of {key.holder}",
            f"{key.role} for {', '.join(key.environments) or 'no environment'} signs nothing in {target}'s promotion",
            f"Have it signed by the evidence key of {statement.environment} and by a {approver} for {target}.",
        )
        for key in signed_by
        if places.get(key.role) not in key.environments
    ]
    present = {key.role for key in signed_by if places.get(key.role) in key.environments}
    if "evidence" not in present:
        findings.append(
            critical(
                "PROMOTION-UNSIGNED",
                target,
                f"no evidence key of {statement.environment} signed",
                f"Sign the evidence on the controller of {statement.environment} (sign_evidence.yml).",
            )
        )
    if approver not in present:
        findings.append(
            critical(
                "PROMOTION-UNAPPROVED",
                target,
                f"no {approver} for {target} signed",
                f"Have a {approver} who is not the author read it and sign it (countersign.yml).",
            )
        )
    return findings


def one_role_each(signed_by: Sequence[trust.TrustedKey]) -> list[Finding]:
    """Return a finding (PROMOTION-SAME-PERSON) for each person who signed in more than one role."""
    roles: dict[str, set[str]] = {}
    for key in signed_by:
        roles.setdefault(key.person, set()).add(key.role)
    return [
        critical(
            "PROMOTION-SAME-PERSON",
            person,
            f"signed as {' and as '.join(sorted(held))}",
            "Have another person sign: author, reviewer and security officer are three people.",
        )
        for person, held in sorted(roles.items())
        if len(held) > 1
    ]


def _times(
    statement: statements.Statement, target: str, now: datetime.datetime, max_age_days: int | None
) -> list[Finding]:
    latest = max([statement.created_at, *statement.moments])
    if latest > now + trust.CLOCK_SKEW or max(statement.moments) > statement.created_at + trust.CLOCK_SKEW:
        return [
            critical(
                "PROMOTION-FUTURE",
                target,
                f"it speaks of {trust.format_time(latest)}, signed {trust.format_time(statement.created_at)}, "
                f"now is {trust.format_time(now)}",
                "Set the controllers' clocks right, then collect and sign the evidence again.",
            )
        ]
    oldest = min(statement.moments)
    if max_age_days is not None and oldest < now - datetime.timedelta(days=max_age_days):
        return [
            critical(
                "PROMOTION-STALE",
                target,
                f"its oldest phase is of {trust.format_time(oldest)}, more than {max_age_days} days ago",
                f"Run the phases in {statement.environment} again, sign and have it signed again.",
            )
        ]
    return []


def _results(statement: statements.Statement, target: str, catalogue: Sequence[controls.Control]) -> list[Finding]:
    """Return what did not pass, host by host, by this catalogue's demands; the statement's own sums do not count."""
    needed = statements.PHASES_NEEDED[statements.PREVIOUS[target]]
    demanding = {statement.environment} | ({target} if target == "prod" else set())
    findings = []
    for host in statement.hosts:
        bad = [str(phase) for phase in needed if phase not in host.phases or host.phases[phase].verdict == "failed"]
        if bad:
            findings.append(
                critical(
                    "PROMOTION-PHASES",
                    host.name,
                    f"phases not there or failed: {', '.join(bad)}",
                    "Run them until they pass, then sign again.",
                )
            )
        status = {control.id: host.controls.get(control.id, "unknown") for control in catalogue}
        due = [
            f"{control.id} {status[control.id]}"
            for control in catalogue
            if control.phase in needed and demanding & set(control.mandatory) and status[control.id] != "passed"
        ]
        if due:
            findings.append(
                critical(
                    "PROMOTION-CONTROLS",
                    host.name,
                    f"mandatory and not passed: {', '.join(due)}",
                    "Mend what the report says about them, run the phases again, then sign again.",
                )
            )
        failed = [
            control.id for control in catalogue if control.phase == TESTS_PHASE and status[control.id] == "failed"
        ]
        if failed:
            findings.append(
                critical(
                    "PROMOTION-TESTS",
                    host.name,
                    f"security tests that failed: {', '.join(failed)}",
                    "Mend what the tests found, run phase 4 again, then sign again.",
                )
            )
    return findings


def _chain(
    statement: statements.Statement,
    trusted: trust.Trust,
    catalogue: Sequence[controls.Control],
    now: datetime.datetime,
) -> tuple[tuple[trust.TrustedKey, ...], list[Finding]]:
    """Return the signers of staging's own promotion, and what is wrong with it: what staging tested is what dev
    passed, byte for byte.
    """
    remedy = "Promote to staging first (promote.yml), install it there, test it, and sign staging's evidence."
    if statement.promotion is None:
        return (), [critical("PROMOTION-CHAIN", "staging", "its evidence carries no promotion from dev", remedy)]
    before = judge(statement.promotion, "staging", trusted, catalogue, now, None)
    findings = [
        critical("PROMOTION-CHAIN", f"staging's own promotion, {item.subject}", f"{item.code}: {item.evidence}", remedy)
        for item in before.findings
    ]
    if before.statement is not None:
        findings.extend(subjects.differences(statement.subjects, before.statement.subjects, "dev's evidence"))
    return before.signers, findings
