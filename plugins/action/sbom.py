# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a host's bill of materials on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts, refuse
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    collection_digest,
    controls,
    evidence,
    sbom,
    sbom_document,
    sbom_packages,
)


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``path``, ``sha256``, ``serial_number``, ``counts``, ``findings`` and ``checks``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, asked = self.validate_argument_spec(
            argument_spec={
                "environment": {"type": "str", "required": True, "choices": list(controls.ENVIRONMENTS)},
                "host": {"type": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "collection_version": {"type": "str", "default": ""},
                "images": {"type": "dict", "required": True},
                "package_lists": {"type": "path", "required": True},
                "python_requirements": {"type": "path"},
                "host_packages": {"type": "dict", "default": {}},
                "distribution": {"type": "str", "default": ""},
                "distribution_version": {"type": "str", "default": ""},
                "approvals": {"type": "list", "elements": "dict", "default": []},
                "ollama_version": {"type": "str", "default": ""},
                "timestamp": {"type": "str", "default": ""},
            }
        )
        result["changed"] = False
        try:
            result.update(self._write(asked))
        except FindingError as error:
            result.update(failed=True, msg=str(error), findings=[error.finding.as_dict()])
        except evidence.EvidenceError as error:
            result.update(failed=True, msg=str(error))
        return result

    def _write(self, asked: dict[str, Any]) -> dict[str, Any]:
        check_mode = bool(self._task.check_mode)
        inventory = _inventory(asked)
        findings = sbom.findings_of(inventory)
        document = sbom_document.build(inventory)
        written = sbom.put(
            document, asked["directory"], inventory.environment, inventory.host, asked["timestamp"], check_mode
        )
        there = written if not (check_mode and written.changed) else None
        return {
            "changed": written.changed,
            "path": str(written.path),
            "sha256": written.sha256,
            "serial_number": written.serial_number,
            "counts": {
                "components": len(document["components"]),
                "images": len(inventory.images),
                "models": len(inventory.models),
            },
            "findings": as_dicts(findings),
            "checks": as_dicts([sbom.sbom_check(there, findings, len(document["components"]))]),
            "diff": {
                "before_header": str(written.path),
                "after_header": str(written.path),
                "before": "".join(line + "\n" for line in written.before),
                "after": "".join(line + "\n" for line in written.after),
            },
        }


def _inventory(asked: dict[str, Any]) -> sbom.Inventory:
    path = asked["python_requirements"]
    return sbom.Inventory(
        environment=asked["environment"],
        host=asked["host"],
        collection_version=asked["collection_version"] or collection_digest.collection_version(),
        distribution=sbom_packages.Distribution(asked["distribution"].lower(), asked["distribution_version"]),
        host_debs=sbom_packages.host_debs(asked["host_packages"]),
        images=sbom.images_from(asked["images"], asked["package_lists"]),
        archive_sha256=str(asked["images"].get("archive_sha256") or ""),
        pins=sbom_packages.parse_requirements(_read(path), path) if path else {},
        models=sbom.models_of(asked["approvals"]),
        ollama_version=asked["ollama_version"],
    )


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as stream:
            return stream.read(sbom_packages.REQUIREMENTS_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise refuse(
            "SBOM-REQUIREMENTS",
            path,
            getattr(error, "strerror", None) or "it is no text",
            "Name the gateway's requirements file in python_requirements.",
        ) from error
