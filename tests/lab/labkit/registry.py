# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling the stand-in registry to misbehave, and reading what it was asked."""

from __future__ import annotations

import argparse
import json
import runpy
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.run import Docker

CONTROL = "/run/registry/control.json"
REQUESTS = "/var/log/registry.jsonl"
# The stand-in's own list: what it knows is what can be asked of it.
KINDS: tuple[str, ...] = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "images/registry/faults.py"), run_name="faults"
)["KINDS"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `lab.py registry`."""
    parser.add_argument("kind", choices=[*KINDS, "show", "requests"], help="`ok` alone makes it honest again")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--blob", help="only this blob, sha256:<hex>")
    target.add_argument("--manifest", help="only this manifest, <namespace>/<model>:<tag>")
    parser.add_argument("--bytes", type=int, help="cut: after so many; size: so many too many; short, huge: so many")
    parser.add_argument("--seconds", type=float, help="slow: pause before each 64 KiB; slowhead: before each line")
    parser.add_argument("--times", type=int, help="only the first so many requests for a thing; 0: all")
    parser.add_argument("--status", type=int, help="status: 400 to 599")
    parser.add_argument("--location", help="redirect: where to")
    parser.add_argument("--clear", action="store_true", help="requests: forget them after printing")


def fault_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fault that the arguments describe, as the registry's control file has it. Raises LAB-USAGE."""
    fault: dict[str, Any] = {"kind": arguments.kind}
    for name in ("bytes", "seconds", "status", "location", "times"):
        value = getattr(arguments, name)
        if value is not None:
            fault[name] = value
    if fault["kind"] == "redirect" and "location" not in fault:
        raise LabError("LAB-USAGE", "redirect needs --location URL. Give one.")
    if not 400 <= fault.get("status", 503) <= 599:
        raise LabError("LAB-USAGE", "--status is 400 to 599. Give such a number.")
    if any(fault.get(name, 0) < 0 for name in ("bytes", "seconds", "times")):
        raise LabError("LAB-USAGE", "--bytes, --seconds and --times are not negative. Give such a number.")
    return fault


def with_fault(
    document: dict[str, Any], fault: dict[str, Any], blob: str | None, manifest: str | None
) -> dict[str, Any]:
    """The control document with one fault changed; `ok` without a target is a clean slate."""
    if blob is None and manifest is None:
        return {"default": fault} if fault["kind"] == "ok" else {**document, "default": fault}
    section, name = ("blobs", blob) if blob is not None else ("manifests", manifest)
    return {**document, section: {**document.get(section, {}), str(name): fault}}


class Registry:
    """The registry in the internet container."""

    def __init__(self, docker: Docker, container: str) -> None:
        self._docker = docker
        self._container = container

    def read(self) -> dict[str, Any]:
        """The control document in force."""
        done = self._docker("exec", self._container, "cat", CONTROL, check=False)
        document: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"default": {"kind": "ok"}}
        return document

    def apply(self, fault: dict[str, Any], *, blob: str | None, manifest: str | None) -> None:
        """Put a fault in force for the next request."""
        document = with_fault(self.read(), fault, blob, manifest)
        write = f"cat > {CONTROL}.new && mv {CONTROL}.new {CONTROL}"
        self._docker("exec", "-i", self._container, "sh", "-c", write, stdin=json.dumps(document).encode())

    def requests(self, *, clear: bool) -> str:
        """What the registry was asked, as JSON lines."""
        done = self._docker("exec", self._container, "cat", REQUESTS, check=False)
        if clear:
            self._docker("exec", self._container, "truncate", "--size=0", REQUESTS)
        return done.stdout.decode() if done.returncode == 0 else ""
