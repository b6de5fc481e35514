# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an entry approves a model for this deployment: its environment, risk, use and signatures (rows S6, T2).

Staging and prod refuse; dev and demo tell of what staging and prod would refuse a signature for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Check,
    Finding,
    FindingError,
    Severity,
    check,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import Revocation, Revoked

from .approval_signature import Verifier, payload
from .approvals import Registry, find_number

STRICT_ENVIRONMENTS = ("staging", "prod")
_SIGN = "Have an allowed signer who did not fetch it review and sign the entry (playbook approve_model)."


@dataclass(frozen=True)
class Policy:
    """What a deployment asks of an approval.

    `use` is what the models are used for here. `signers` and `revoked_keys` are paths of files for ssh-keygen.
    `signature_required` None means: in staging and prod. `revocations` are those that hosts remember, in addition to
    the file's own.
    """

    use: tuple[str, ...] = ()
    signers: str = ""
    revoked_keys: str = ""
    signature_required: bool | None = None
    revocations: tuple[Revocation, ...] = ()

    def requires_signature(self, environment: str) -> bool:
        """Whether an unsigned entry is refused in this environment."""
        if self.signature_required is None:
            return environment in STRICT_ENVIRONMENTS
        return self.signature_required


@dataclass(frozen=True)
class Approved:
    """An entry that approves a model, and what is to be said of it all the same."""

    entry: dict[str, Any]
    findings: tuple[Finding, ...] = ()


class Judge:
    """Judges models against one registry, environment and policy; signers are read once, when first needed."""

    def __init__(self, registry: Registry, environment: str, policy: Policy) -> None:
        self.registry = registry
        self.environment = environment
        self.policy = policy
        self._revoked = Revoked(policy.revocations)
        self._verifier: Verifier | None = None

    def approve(self, name: str) -> Approved:
        """Return the entry that approves `name` (a reference, or an entry's own name).

        Raises FindingError: what `find_approval` raises, APPROVAL-USE, APPROVAL-UNSIGNED,
        APPROVAL-SIGNATURE-INVALID, APPROVAL-SELF-SIGNED, APPROVAL-FETCHER-UNKNOWN, APPROVAL-SIGNERS-MISSING,
        APPROVAL-SIGNERS-INVALID, APPROVAL-REVOKED-KEYS, APPROVAL-SSH-KEYGEN.
        """
        number = find_number(self.registry, name, self.environment, self._revoked)
        entry = self.registry.entries[number]
        findings = [*self.registry.lacking[number], *self._judge_use(entry)]
        try:
            self._require_signature(entry)
        except FindingError as error:
            if self.policy.requires_signature(self.environment):
                raise
            findings.append(_softened(error.finding, self.environment))
        return Approved(entry, tuple(findings))

    def _judge_use(self, entry: Mapping[str, Any]) -> list[Finding]:
        subject = _subject(entry)
        if not self.policy.use:
            undeclared = refuse(
                "APPROVAL-USE",
                subject,
                "the inventory does not say what it is used for",
                "Name the use in model_store_use; the entry has to approve it.",
                Severity.HIGH if self.environment in STRICT_ENVIRONMENTS else Severity.INFO,
            )
            if self.environment in STRICT_ENVIRONMENTS:
                raise undeclared
            return [undeclared.finding]
        approved = {use.strip().casefold() for use in entry.get("approved_uses", ())}
        prohibited = {use.strip().casefold() for use in entry.get("prohibited_uses", ())}
        for use in self.policy.use:
            wanted = use.strip().casefold()
            if wanted in prohibited or wanted not in approved:
                why = "prohibited" if wanted in prohibited else "not among its approved uses ({0})".format(
                    ", ".join(entry.get("approved_uses", ())) or "none"
                )
                raise refuse(
                    "APPROVAL-USE",
                    subject,
                    "{0} is {1}".format(clean_text(use, 60), why),
                    "Choose a model that is approved for this use, or have this one approved for it.",
                    Severity.CRITICAL,
                )
        return []

    def _require_signature(self, entry: Mapping[str, Any]) -> None:
        """Raise FindingError unless an allowed signer who is not the fetcher has signed the entry."""
        subject = _subject(entry)
        signatures = entry.get("signatures", ())
        if not signatures:
            raise refuse("APPROVAL-UNSIGNED", subject, "nobody has signed the entry", _SIGN)
        if not entry.get("fetched_by"):
            raise refuse(
                "APPROVAL-INCOMPLETE",
                subject,
                "it does not say who fetched it (fetched_by), so nobody can be told from the fetcher",
                "Add fetched_by to the entry, and have it signed again.",
            )
        refusals = []
        for item in signatures:
            try:
                require_countersigned(entry, item, self._signers())
            except FindingError as error:
                refusals.append(error)
            else:
                return
        # A signature that does not hold says more than one that does not count.
        raise min(refusals, key=lambda error: -error.finding.severity.rank)

    def _signers(self) -> Verifier:
        if not self.policy.signers:
            raise refuse(
                "APPROVAL-SIGNERS-MISSING",
                "allowed_signers",
                "no file of allowed signers is named",
                "Write it beside the inventory (docs/models_registry.md), or name it in model_store_signers_file.",
            )
        if self._verifier is None:
            self._verifier = Verifier.from_files(self.policy.signers, self.policy.revoked_keys or None)
        return self._verifier


def require_countersigned(entry: Mapping[str, Any], item: Mapping[str, Any], verifier: Verifier) -> None:
    """Raise FindingError unless `item` is a signature of `entry` by an allowed signer who did not fetch it.

    APPROVAL-SIGNATURE-INVALID; APPROVAL-SELF-SIGNED: one name, in any case of letters, or one key under two names, is
    one person; APPROVAL-FETCHER-UNKNOWN: a name that allowed_signers does not have may be anybody's, the signer's too.
    """
    subject, fetcher, signer = _subject(entry), entry.get("fetched_by", ""), item["signer"]
    signature = verifier.verify(payload(entry), signer, item["signature"], subject)
    why = ""
    if signer.casefold() == fetcher.casefold():
        why = "{0} fetched and signed it".format(signer)
    elif verifier.signers.holds(signature.key, fetcher):
        why = "{0} signed with a key that is {1}'s too".format(signer, fetcher)
    if why:
        raise refuse("APPROVAL-SELF-SIGNED", subject, why, "Two persons are needed. " + _SIGN)
    if not verifier.signers.knows(fetcher):
        raise refuse(
            "APPROVAL-FETCHER-UNKNOWN",
            subject,
            "it was fetched by {0}, whom allowed_signers does not name".format(clean_text(fetcher, 60)),
            "List the fetcher with a key of its own (docs/models_registry.md), or correct fetched_by and sign again.",
        )


def _subject(entry: Mapping[str, Any]) -> str:
    return clean_text(entry.get("reference") or entry["name"], 120)


def _softened(finding: Finding, environment: str) -> Finding:
    """Return what dev and demo say of a signature that staging and prod would refuse.

    One that does not hold is worth a look anywhere; a missing one is how dev works.
    """
    severity = Severity.MEDIUM if finding.severity is Severity.CRITICAL else Severity.LOW
    evidence = "{0} (not required in {1})".format(finding.evidence, environment)
    return Finding(finding.code, severity, finding.subject, evidence, finding.remedy)


@dataclass
class Verdict:
    """The judgement of all models of a deployment: the entries of those approved, and everything found."""

    entries: list[dict[str, Any]]
    refusals: list[Finding]
    findings: list[Finding]
    asked: int

    def checks(self) -> list[Check]:
        """Return one check for each thing that is asked of an approval."""
        found = [*self.refusals, *self.findings]
        checks = []
        for check_id, codes in _CHECKS:
            bad = [finding for finding in found if finding.code in codes]
            evidence = "{0} models".format(self.asked) if not bad else "{0}: {1}".format(bad[0].code, bad[0].evidence)
            # An entry that was not found was not held against anything.
            seen = not bad and len(self.entries) == self.asked
            checks.append(check(check_id, False if bad else seen or None, evidence))
        return checks


_CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("approval-present", ("APPROVAL-MISSING", "APPROVAL-INCOMPLETE", "APPROVAL-INVALID")),
    ("approval-not-revoked", ("APPROVAL-REVOKED",)),
    ("approval-risk-accepted", ("APPROVAL-RISK",)),
    ("approval-use-allowed", ("APPROVAL-USE",)),
    (
        "approval-signed",
        (
            "APPROVAL-UNSIGNED",
            "APPROVAL-SIGNATURE-INVALID",
            "APPROVAL-SELF-SIGNED",
            "APPROVAL-FETCHER-UNKNOWN",
            "APPROVAL-SIGNERS-MISSING",
            "APPROVAL-SIGNERS-INVALID",
            "APPROVAL-REVOKED-KEYS",
            "APPROVAL-SSH-KEYGEN",
        ),
    ),
)


def judge(registry: Registry, names: Iterable[str], environment: str, policy: Policy) -> Verdict:
    """Return the judgement of every model in `names`; a refusal of one does not hide what is wrong with another."""
    judging = Judge(registry, environment, policy)
    verdict = Verdict([], [], [], 0)
    for name in names:
        verdict.asked += 1
        try:
            approved = judging.approve(name)
        except FindingError as error:
            # A broken list of signers is told once, not for every model.
            if error.finding not in verdict.refusals:
                verdict.refusals.append(error.finding)
        else:
            verdict.entries.append(approved.entry)
            verdict.findings.extend(approved.findings)
    return verdict
