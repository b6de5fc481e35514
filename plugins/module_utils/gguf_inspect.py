# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One GGUF file inspected whole: structure, policy, templates, and the checks that follow (row S4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from .findings import Check, Finding, FindingError, Severity, as_dicts, check
from .gguf import GgufFile, read_gguf
from .gguf_cursor import Noted
from .gguf_policy import Policy, bits_per_weight, judge_policy, policy_from
from .gguf_template import JUDGED_BYTES, REVIEW, judge_template
from .gguf_types import FILE_TYPES
from .hashing import AnyPath


@dataclass
class GgufReport:
    """What was found about a file. `verdict` is "failed" from the first finding of medium severity on."""

    file: GgufFile
    findings: list[Finding]
    checks: list[Check]

    @property
    def verdict(self) -> str:
        """Return "passed" or "failed"."""
        return "failed" if any(_bad(finding) for finding in self.findings) else "passed"

    def info(self) -> dict[str, Any]:
        """Return what the file says of itself, and what was counted."""
        file, metadata = self.file, self.file.metadata
        number = metadata.number("general.file_type")
        known = FILE_TYPES.get(-1 if number is None else number)
        bits = bits_per_weight(file)
        return {
            "size": file.size,
            "version": file.version,
            "architecture": file.architecture,
            "type": metadata.text("general.type"),
            "name": metadata.text("general.name"),
            "author": metadata.text("general.author"),
            "organization": metadata.text("general.organization"),
            "license": metadata.text("general.license"),
            "file_type": known.name if known else "",
            "parameters": file.parameters,
            "bits_per_weight": round(bits, 2) if bits is not None else None,
            "tensors": file.tensor_count,
            "keys": file.key_count,
            "context_length": metadata.number(file.architecture + ".context_length"),
            "vocabulary": metadata.arrays.get("tokenizer.ggml.tokens", (0, 0))[1],
            "quantisation": file.quantisation,
            "templates": [
                {"key": template.key, "digest": template.digest, "size": template.size}
                for template in metadata.templates
            ],
        }

    def as_result(self) -> dict[str, Any]:
        """Return the module's result, without `changed`."""
        return {
            "info": self.info(),
            "findings": as_dicts(self.findings),
            "checks": as_dicts(self.checks),
            "verdict": self.verdict,
        }


def inspect_gguf(
    source: Union[int, AnyPath],
    policy: Union[Policy, Mapping[str, Any], None] = None,
    role: str = "model",
    subject: str = "",
) -> GgufReport:
    """Inspect the file at a path or behind an open descriptor; never raises.

    `policy` is a mapping as gguf_policy.DEFAULT_POLICY is (None: that one); a broken one is a finding, and what it
    would have judged stays unknown. `role` is what the file is there for: model, draft, adapter or projector.
    """
    file = read_gguf(source, subject)
    judged, broken = checked_policy(policy)
    noted = Noted(file.subject)
    if judged is not None:
        if file.complete:
            judge_policy(file, role, judged, noted)
        _templates(file, judged, noted)
    verdicts = noted.items()
    findings = [*file.findings, *broken, *verdicts]
    return GgufReport(file, findings, _checks(file, verdicts, judged is not None))


def checked_policy(policy: Union[Policy, Mapping[str, Any], None]) -> tuple[Optional[Policy], list[Finding]]:
    """Return the policy, or None and the finding that says what is wrong with it."""
    if isinstance(policy, Policy):
        return policy, []
    try:
        return policy_from(policy), []
    except FindingError as error:
        return None, [error.finding]


def _templates(file: GgufFile, policy: Policy, noted: Noted) -> None:
    left = JUDGED_BYTES
    for template in file.metadata.templates:
        if template.digest in policy.reviewed:
            continue
        if template.data is None or template.size > left:
            evidence = "{0} ({1}) has {2} bytes: too many to be judged".format(
                template.key, template.digest, template.size
            )
            noted.add("TEMPLATE-SIZE", Severity.HIGH, evidence, REVIEW)
            continue
        left -= template.size
        judge_template(template.data, template.digest, "jinja", template.key, policy, noted)


def _checks(file: GgufFile, verdicts: list[Finding], judged: bool) -> list[Check]:
    structure = sum(map(_bad, file.findings))
    policy = sum(_bad(item) for item in verdicts if item.code.startswith("GGUF-POLICY-"))
    template = sum(_bad(item) for item in verdicts if item.code.startswith("TEMPLATE-"))
    seen = file.complete and judged
    unseen = "the header was not read to its end" if judged else "the policy is broken"
    keys = "{0} keys, {1} tensors, {2} templates".format(
        file.key_count, file.tensor_count, len(file.metadata.templates)
    )
    checks = [check("gguf-structure", not structure, _evidence(structure, keys))]
    for check_id, count in (("gguf-policy", policy), ("gguf-template", template)):
        # What was not seen is never a pass; what was seen to be bad is bad whatever else was not.
        holds = False if count else (True if seen else None)
        checks.append(check(check_id, holds, _evidence(count, keys if seen else unseen)))
    return checks


def _evidence(count: int, otherwise: str) -> str:
    return "{0} findings".format(count) if count else otherwise


def _bad(finding: Finding) -> bool:
    return finding.severity.rank >= Severity.MEDIUM.rank
