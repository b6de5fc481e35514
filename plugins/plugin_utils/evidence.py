# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence on the controller: one JSON file per environment, host and phase, written whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


class EvidenceError(ValueError):
    """Evidence cannot be written or read; the message starts with its finding code."""


def now() -> str:
    """The present moment, UTC, RFC 3339, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def evidence_path(directory: str | Path, environment: str, host: str, phase: int) -> Path:
    """Say where the evidence of a phase lies; a name that would leave the directory is EVIDENCE-NAME."""
    for name in (environment, host):
        if not _SAFE.fullmatch(name) or ".." in name:
            raise EvidenceError(
                f"EVIDENCE-NAME: {name!r} cannot be a file's name. Rename it in the inventory."
            )
    return Path(directory) / environment / host / f"phase{phase}.json"


def write_text(path: Path, text: str) -> None:
    """Write a file in one step (temporary file, fsync, rename), mode 0640; else EVIDENCE-WRITE."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o640)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise EvidenceError(
            f"EVIDENCE-WRITE: {path} cannot be written: {error.strerror}. "
            "Free space or set control_report_dir to a directory that can be written."
        ) from None


def write_evidence(path: Path, record: Mapping[str, Any]) -> None:
    """Write one phase's evidence as JSON with stable key order."""
    write_text(
        path, json.dumps({"schema": SCHEMA, **record}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )


def read_evidence(directory: str | Path, environment: str, host: str) -> list[dict[str, Any]]:
    """Read what is there of a host's phases, in phase order; what is no evidence is EVIDENCE-READ."""
    records: list[dict[str, Any]] = []
    for phase in range(1, 6):
        path = evidence_path(directory, environment, host, phase)
        if not path.exists():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvidenceError(f"EVIDENCE-READ: {path}: {error}. Run phase {phase} again.") from None
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise EvidenceError(f"EVIDENCE-READ: {path}: not of schema {SCHEMA}. Run phase {phase} again.")
        records.append(record)
    return records


def completeness(directory: str | Path, environment: str, host: str) -> dict[str, str]:
    """The check ``report-evidence-complete``: evidence of the phases before the last one lies on the controller."""
    there = {record["phase"] for record in read_evidence(directory, environment, host)}
    missing = [str(phase) for phase in range(1, 5) if phase not in there]
    return {
        "id": "report-evidence-complete",
        "status": "failed" if missing else "passed",
        "evidence": f"phases without evidence: {', '.join(missing) or 'none'}",
    }
