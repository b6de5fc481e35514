# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what `ollama_model` is asked to what it answers: settings put together, work done or predicted (rows S1, S2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from . import acquire, sources
from .approval import Approval, approval_for
from .engine import Engine
from .fetch_container import FetcherSettings
from .findings import as_dicts, refuse
from .names import parse_name, require_source
from .scan_engine import ScanSettings
from .screen import Screening
from .store import ModelStore

# Each is a thread, a TLS session and a connection of the proxy's.
CONNECTIONS_MAX = 16


def have(asked: Mapping[str, Any], check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Return the result of state present: predicted with `check`, done otherwise. `asked` are the module's arguments.

    Raises FindingError with one finding; the store then is as it was.
    """
    store, name = _store(asked), parse_name(asked["name"])
    require_source(name, asked["allowed_sources"])
    approval = approval_for(name, asked["approval"])
    _require_origin(approval, asked)
    quarantine = Path(asked["quarantine"])
    source = _source(asked)
    counts: dict[str, Any] = {}
    remembered = Path(asked["revocations"]) if asked["revocations"] else None
    screening = Screening(store, approval.name.full, asked["policy"], _scanner(asked["scan"]), remembered)
    if check:
        todo = acquire.plan(store, approval, asked["workers"])
        acquire.require_space(store, quarantine, todo, source.part(quarantine, approval))
    else:
        record = Path(asked["record"]) if asked["record"] else None
        todo, counts = acquire.present(store, quarantine, source, approval, asked["workers"], record, screening)
    result = {
        "changed": todo.changed,
        "model": _described(approval),
        "fetched": sorted(todo.fetch),
        "source_needed": todo.needs_source,
        "findings": as_dicts(screening.findings),
    }
    if counts:
        result["transfer"] = counts
    if screening.scanned is not None:
        result["scanned"] = screening.scanned.as_result()
    if diff:
        result["diff"] = todo.as_diff()
    return result


def have_not(asked: Mapping[str, Any], check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Return the result of state absent: predicted with `check`, done otherwise. Raises FindingError."""
    store, name = _store(asked), parse_name(asked["name"])
    there, removed = acquire.removal(store, name)
    if there and not check:
        removed = acquire.absent(store, name)
    result: dict[str, Any] = {"changed": there, "model": {"name": name.full}, "removed": removed}
    if diff:
        lines = ["manifest {0}".format(name.full), *removed] if there else []
        result["diff"] = {"before": "".join(line + "\n" for line in lines), "after": ""}
    return result


def _store(asked: Mapping[str, Any]) -> ModelStore:
    return ModelStore(asked["store"], asked["owner_uid"], asked["owner_gid"])


def _scanner(asked: Optional[Mapping[str, Any]]) -> Optional[ScanSettings]:
    """Return the scanner that is to be asked, if any. Raises FindingError (SCAN-SETTINGS-INVALID)."""
    if asked is None:
        return None
    return ScanSettings(
        socket=asked["socket"],
        config=asked["config"],
        scratch=asked["scratch"],
        max_age_days=asked["max_signature_age"],
        allow_undated=asked["allow_undated"],
    )


def _require_origin(approval: Approval, asked: Mapping[str, Any]) -> None:
    """Refuse bytes that are carried in when the approval does not say where they came from."""
    if asked["source"] != "registry" and not asked["approval"].get("source"):
        raise refuse(
            "APPROVAL-INCOMPLETE",
            approval.name.full,
            "the entry names no source, and a {0} does not show where it came from".format(asked["source"]),
            "Complete the entry in models_registry.yaml (source: where the bytes were fetched), then run again.",
        )


def _source(asked: Mapping[str, Any]) -> sources.Source:
    """Return the source that the arguments name. Raises FindingError (FETCH-JOB) for figures that will not do."""
    if asked["source"] == "bundle":
        return sources.Bundle(Path(asked["src"]))
    if asked["source"] == "file":
        return sources.Directory(Path(asked["src"]))
    if not 1 <= asked["connections"] <= CONNECTIONS_MAX or asked["split_from"] < 0:
        raise refuse(
            "FETCH-JOB",
            asked["name"],
            "connections is {0}, split_from is {1}".format(asked["connections"], asked["split_from"]),
            "Give 1 to {0} connections, and a size that is not negative.".format(CONNECTIONS_MAX),
        )
    settings = FetcherSettings(
        image=asked["fetcher_image"] or "",
        uid=asked["fetcher_uid"],
        egress_socket=Path(asked["egress_socket"]),
        ca_bundle=Path(asked["ca_bundle"]) if asked["ca_bundle"] else None,
        timeout=float(asked["timeout"]),
        seccomp=Path(asked["seccomp_profile"]),
    )
    return sources.Registry(
        Engine(asked["docker_socket"]),
        settings,
        tuple(asked["redirect_hosts"]),
        connections=asked["connections"],
        split_from=asked["split_from"],
    )


def _described(approval: Approval) -> dict[str, Any]:
    """Return name, digest, size in bytes and number of blobs of a model."""
    return {
        "name": approval.name.full,
        "digest": approval.digest,
        "size": approval.size,
        "blobs": len(approval.blobs),
    }
