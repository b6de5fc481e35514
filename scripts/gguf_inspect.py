# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a GGUF model file without loading it: structure, policy, chat templates.

Runs from a checkout with any Python from 3.9 on and nothing else; a policy in YAML needs PyYAML, one in JSON does not.
Ends with 0 when the file passes, 1 when a finding of medium severity or more says that it does not, 2 when the
question could not be asked. docs/gguf.md describes the findings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

# A look leaves nothing behind, not even compiled files in the checkout.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from module_utils.findings import clean_text  # noqa: E402 - after the path it is found by
from module_utils.gguf_inspect import GgufReport, checked_policy, inspect_gguf  # noqa: E402 - as above
from module_utils.gguf_policy import ROLES  # noqa: E402 - as above

POLICY_MAX_BYTES = 1024 * 1024


class QuestionError(Exception):
    """The question cannot be asked; the text says why, and what to do."""


def read_policy(path: Path) -> Any:
    """Return what a policy file holds. Raises QuestionError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(POLICY_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"POLICY-INVALID: {path}: {error}. Name a policy in YAML or JSON.") from error
    if len(data) > POLICY_MAX_BYTES:
        raise QuestionError(f"POLICY-INVALID: {path}: longer than {POLICY_MAX_BYTES} bytes. Name a policy file.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if path.suffix == ".json":
            raise QuestionError(f"POLICY-INVALID: {path}: {error}. Correct the JSON.") from error
    try:
        import yaml
    except ImportError:
        raise QuestionError(
            f"POLICY-INVALID: {path} is no JSON, and this Python has no PyYAML. Install it, or write it as JSON."
        ) from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise QuestionError(f"POLICY-INVALID: {path}: {clean_text(error, 200)}. Correct the YAML.") from error


def show(report: GgufReport) -> str:
    """Return the report for a person to read."""
    info = report.info()
    lines = [report.file.subject]
    labels = {
        "name": "name",
        "organization": "organisation",
        "author": "author",
        "license": "licence",
        "architecture": "architecture",
        "type": "type",
        "file_type": "file type",
        "parameters": "parameters",
        "bits_per_weight": "bits a weight",
        "context_length": "context",
        "vocabulary": "vocabulary",
        "tensors": "tensors",
        "keys": "keys",
        "version": "GGUF version",
        "size": "bytes",
    }
    # Whatever stands in the file must not move a cursor.
    lines += [f"  {label:<14} {clean_text(info[key], 100)}" for key, label in labels.items() if info[key]]
    weights = ", ".join(f"{name} {count}" for name, count in sorted(info["quantisation"].items()))
    lines += [f"  {'weights':<14} {clean_text(weights, 200)}"] if weights else []
    for template in info["templates"]:
        key = clean_text(template["key"], 60)
        lines.append(f"  {'template':<14} {key} {template['digest']} ({template['size']} bytes)")
    for finding in sorted(report.findings, key=lambda item: -item.severity.rank):
        lines.append(f"{finding.severity.value:>8}  {finding.code}: {finding.evidence}")
        lines.append(f"{'':>8}  {finding.remedy}")
    lines += [f"{item.status:>8}  {item.id} ({item.evidence})" for item in report.checks]
    return "\n".join([*lines, f"verdict: {report.verdict}"])


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Return 0 for a file that passes, 1 for one that does not, 2 for a question that cannot be asked."""
    parser = argparse.ArgumentParser(prog="gguf-inspect", description=str(__doc__).partition("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="the GGUF file, for example a blob of a store")
    parser.add_argument("--policy", type=Path, help="a policy, YAML or JSON; keys it does not name have their default")
    parser.add_argument("--role", choices=ROLES, default="model", help="what the file is there for")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = parser.parse_args(arguments)
    try:
        policy, broken = checked_policy(read_policy(asked.policy) if asked.policy else {})
        if policy is None:
            raise QuestionError(broken[0].as_text())
        report = inspect_gguf(asked.file, policy, asked.role)
        unread = [finding for finding in report.findings if finding.code == "GGUF-UNREADABLE"]
        if unread:
            raise QuestionError(unread[0].as_text())
        print(json.dumps(report.as_result(), indent=2) if asked.json else show(report))
        sys.stdout.flush()
    except QuestionError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read has seen enough (head, less); the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if report.verdict == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
