# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults as the command line describes them end in a control file that the registry accepts."""

from __future__ import annotations

import argparse

import faults
import pytest
from labkit import registry as control
from labkit.errors import LabError


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    control.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words",
    [
        ["lie"],
        ["cut", "--bytes", "10"],
        ["size", "--bytes", "3"],
        ["slow", "--seconds", "0.5"],
        ["endless"],
        ["status", "--times", "2"],
        ["status", "--status", "500"],
        ["redirect", "--location", "https://evil.example/"],
    ],
)
def test_every_fault_is_understood_by_the_registry(words: list[str]) -> None:
    fault = control.fault_from(parse(*words))
    assert faults.parse_faults(control.with_fault({}, fault, None, None)).default.kind == words[0]
    named = faults.parse_faults(control.with_fault({}, fault, "sha256:aa", None))
    assert (named.for_blob("sha256:aa").kind, named.for_blob("sha256:bb").kind) == (words[0], "ok")


@pytest.mark.parametrize(
    "words",
    [
        ["redirect"],
        ["status", "--status", "200"],
        ["cut", "--bytes", "-1"],
        ["slow", "--seconds", "-1"],
        ["lie", "--times", "-1"],
    ],
)
def test_a_senseless_fault_is_refused(words: list[str]) -> None:
    with pytest.raises(LabError, match="LAB-USAGE"):
        control.fault_from(parse(*words))


def test_ok_alone_is_a_clean_slate_and_named_faults_add_up() -> None:
    lie = {"kind": "lie"}
    document = control.with_fault({}, lie, "sha256:aa", None)
    document = control.with_fault(document, lie, None, "library/x:latest")
    assert set(document) == {"blobs", "manifests"}
    assert control.with_fault(document, {"kind": "ok"}, None, None) == {"default": {"kind": "ok"}}
