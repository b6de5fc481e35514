# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotions that were made: where they lie, and which one allows what a host is about to get (row S9)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, check, clean_text
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, controls, subjects, trust
from ansible_collections.rampart.ollama.plugins.plugin_utils.promotion import Judgement, critical, judge

PROMOTIONS_MAX = 1000
REASON_MIN_CHARS = 10
SUFFIX = ".dsse.json"
CHECK_SIGNED = "promotion-signed"
CHECK_DIGESTS = "promotion-digests"


@dataclass(frozen=True)
class Rollback:
    """Leave to install by one promotion (`to`, its id) though a newer one replaced it, and the `reason` on record."""

    to: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Lookup:
    """The promotion by which something may be installed, or why none was found (`findings`); `looked_at` files.

    `note` is what the evidence says of a rollback, empty where there is none.
    """

    found: Judgement | None
    findings: tuple[Finding, ...]
    looked_at: int
    note: str = ""

    def checks(self) -> list[dict[str, str]]:
        """Return the checks of row S9: a valid promotion is there, and it names these very bytes."""
        foreign = [item for item in self.findings if item.code == "PROMOTION-DIGEST"]
        other = [item for item in self.findings if item.code != "PROMOTION-DIGEST"]
        signed = "signatures, people, age and results hold"
        if self.found is not None:
            people = ", ".join(f"{key.holder} ({key.role})" for key in self.found.signers)
            signed = f"promotion {self.found.envelope.id}, signed by {people}{self.note}"
        same = "no valid promotion to compare with" if other else "models, images and collection are the promoted ones"
        return [
            check(CHECK_SIGNED, not other, _told(other) or signed).as_dict(),
            # Of an envelope that does not count it cannot be said that it names the right bytes.
            check(CHECK_DIGESTS, False if foreign else (None if other else True), _told(foreign) or same).as_dict(),
        ]


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{item.code} {item.subject}" for item in findings)


def record_path(directory: str | Path, target: str, envelope: attestation.Envelope) -> Path:
    """Return where the promotion of an envelope lies: `<directory>/<target>/<id>.dsse.json`."""
    return Path(directory) / target / f"{envelope.id}{SUFFIX}"


def lookup(
    directory: str | Path,
    target: str,
    wanted: Mapping[str, str],
    trusted: trust.Trust,
    catalogue: Sequence[controls.Control],
    now: datetime.datetime,
    max_age_days: int,
    rollback: Rollback | None = None,
) -> Lookup:
    """Find the newest valid promotion to `target` that names every wanted subject with its very digest.

    Where none does, the findings are those of the one that came nearest. With a `rollback`, which may be an empty one,
    it has to be the newest promotion of all, or the one that the rollback names: what was replaced, for a flaw maybe,
    is not installed again unseen. Never raises for what a file holds.
    """
    place = Path(directory) / target
    files = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else []
    if not files or len(files) > PROMOTIONS_MAX:
        seen = f"{place} holds {len(files)} promotions"
        remedy = (
            f"Promote first: promote.yml with target_environment={target}."
            if not files
            else f"Keep at most {PROMOTIONS_MAX}; delete old ones."
        )
        return Lookup(None, (critical("PROMOTION-MISSING", target, seen, remedy),), len(files))
    best: tuple[tuple[int, int, float], Judgement, tuple[Finding, ...]] | None = None
    seen_all = []
    for path in files:
        judged = _judge_file(path, target, trusted, catalogue, now, max_age_days)
        seen_all.append(judged)
        findings = judged.findings
        if judged.statement is not None:
            findings = (*findings, *subjects.differences(wanted, judged.statement.subjects, "the promotion"))
        foreign = judged.statement is None or any(item.code == "PROMOTION-DIGEST" for item in findings)
        age = -judged.statement.created_at.timestamp() if judged.statement else 0.0
        rank = (int(bool(findings)), int(foreign), age)
        if best is None or rank < best[0]:
            best = (rank, judged, findings)
    if best is None:
        raise AssertionError("a lookup without files has returned already")
    if best[2]:
        return Lookup(None, best[2], len(files))
    newer = _newer(best[1], seen_all)
    if newer is None or rollback is None:
        return Lookup(best[1], (), len(files))
    return _replaced(best[1], newer, rollback, len(files))


def _newer(found: Judgement, others: Iterable[Judgement]) -> Judgement | None:
    """Return the newest promotion that holds (its age aside: it does not bring back what it replaced), if newer."""
    holding = [
        (judged.statement.created_at, number, judged)
        for number, judged in enumerate(others)
        if judged.statement is not None and all(item.code == "PROMOTION-STALE" for item in judged.findings)
    ]
    newest = max(holding, default=None)
    if newest is None or found.statement is None or newest[0] <= found.statement.created_at:
        return None
    return newest[2]


def _replaced(found: Judgement, newer: Judgement, rollback: Rollback, looked_at: int) -> Lookup:
    """Return the lookup of a promotion that a newer one replaced: refused, or a rollback that is on record."""
    old, reason = found.envelope.id, clean_text(rollback.reason.strip(), 200)
    when = trust.format_time(newer.statement.created_at) if newer.statement else ""
    if rollback.to == old and len(reason) >= REASON_MIN_CHARS:
        return Lookup(found, (), looked_at, f"; rolled back from {newer.envelope.id} of {when}: {reason}")
    finding = critical(
        "PROMOTION-SUPERSEDED",
        old,
        f"these bytes were promoted, and replaced by promotion {newer.envelope.id}, whose evidence is of {when}",
        "Install what was promoted last. To go back, set promotion_allow_rollback to the older id and say why in "
        f"promotion_rollback_reason ({REASON_MIN_CHARS} characters or more); it is recorded.",
    )
    return Lookup(None, (finding,), looked_at)


def _judge_file(
    path: Path,
    target: str,
    trusted: trust.Trust,
    catalogue: Sequence[controls.Control],
    now: datetime.datetime,
    max_age_days: int,
) -> Judgement:
    try:
        envelope = attestation.read_envelope(path)
    except FindingError as error:
        return Judgement(attestation.Envelope(b""), findings=(error.finding,))
    return judge(envelope, target, trusted, catalogue, now, max_age_days)
