# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S7: a size is the approved one to the byte, or what the parameters take; what cannot be judged is no pass."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.indicator_size import expected_bytes, size_indicators
from ansible_collections.rampart.ollama.plugins.module_utils.indicators import indicators, ioc_check
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import LAYER_PREFIX, Manifest, parse_manifest

pytestmark = pytest.mark.row("S7")

MISTRAL_SIZE = 4_372_811_904
INFO = {"file_type": 15, "parameters": 7_248_023_552, "size": MISTRAL_SIZE}


def entry_of(size: int = MISTRAL_SIZE) -> dict[str, Any]:
    return {"blobs": [{"digest": "sha256:" + "ab" * 32, "size": size, "media_type": LAYER_PREFIX + "model"}]}


def info_of(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**INFO, **changes}.items() if value is not None}


def codes(
    entry: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
    manifest: Manifest | None = None,
    tolerance: float = 0.1,
    first: bool = False,
) -> list[str]:
    found = size_indicators("m", entry or entry_of(), INFO if info is None else info, manifest, tolerance, first)
    assert all(finding.remedy for finding in found)
    return [finding.code for finding in found]


def test_s7_the_right_size_is_in_order_at_first_and_later() -> None:
    assert codes(first=True) == []
    assert codes() == []


@pytest.mark.parametrize(
    ("parameters", "file_type", "size"),
    [
        (134_515_008, "Q4_1", 98_362_432),  # the laboratory's model
        (7_248_023_552, 15, MISTRAL_SIZE),
        (7_248_023_552, 2, 4_113_289_152),  # the guide's "about 4.1 GB"
        (494_032_768, 15, 397_807_936),
        (999_885_952, "q4_k_m", 815_310_432),
        (1_235_814_432, 7, 1_321_079_200),
        (20_914_757_184, 38, 13_780_154_880),
        (70_553_706_496, 15, 42_520_393_152),
        (8_030_261_248, 1, 16_068_890_912),
    ],
)
def test_s7_sizes_of_real_models_are_expected(parameters: int, file_type: Any, size: int) -> None:
    limits = expected_bytes(parameters, file_type, 0.1)
    assert limits is not None
    assert limits[0] <= size <= limits[1]


@pytest.mark.parametrize("size", [6_000_000_000, 3_500_000_000, 100, 0, 1 << 60])
def test_s7_a_first_size_that_the_weights_cannot_have(size: int) -> None:
    for file_type in (2, 15):
        assert codes(entry_of(size), info_of(size=size, file_type=file_type), first=True) == ["IOC-SIZE-UNLIKELY"]


def test_s7_a_wider_tolerance_admits_more() -> None:
    info = info_of(size=6_000_000_000)
    assert codes(entry_of(6_000_000_000), info, first=True, tolerance=0.3) == []


@pytest.mark.parametrize("tolerance", [-0.1, 1, 5.0, float("nan"), float("inf")])
def test_s7_a_tolerance_that_tolerates_all_is_refused(tolerance: float) -> None:
    with pytest.raises(FindingError, match="IOC-POLICY"):
        indicators(entry_of(), INFO, None, datetime.date(2026, 11, 24), tolerance)


@pytest.mark.parametrize(
    "lacking",
    [
        {"parameters": None},
        {"size": None},
        {"file_type": None},
        {"file_type": 9999},
        {"file_type": "Q4_K_XXL"},
        {"file_type": True},
        {"parameters": 0},
        {"parameters": -5},
        {"parameters": 1 << 80},
        {"parameters": "7B"},
        {"parameters": True},
    ],
)
def test_s7_a_first_size_that_cannot_be_judged_is_unknown_and_no_pass(lacking: dict[str, Any]) -> None:
    found = size_indicators("m", entry_of(), info_of(**lacking), None, 0.1, True)
    assert [finding.code for finding in found] == ["IOC-SIZE-UNKNOWN"]
    assert ioc_check(found).status == "unknown"


@pytest.mark.parametrize("off", [-1, 1, 2_000_000_000])
def test_s7_an_approved_size_is_held_to_the_byte(off: int) -> None:
    assert codes(info=info_of(size=MISTRAL_SIZE + off)) == ["IOC-SIZE-CHANGED"]


def test_s7_a_manifest_of_another_size_than_approved(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"weights", b"license")
    manifest = parse_manifest(made.manifest, "mistral:7b")
    right = {**made.entry(), "size": manifest.size}
    info = info_of(size=len(b"weights"))
    assert codes(right, info, manifest) == []
    assert codes({**right, "size": manifest.size + 1}, info, manifest) == ["IOC-SIZE-CHANGED"]


def test_s7_an_approved_size_that_nothing_is_held_against_is_unknown() -> None:
    assert codes(info=info_of(size=None)) == ["IOC-SIZE-UNKNOWN"]
