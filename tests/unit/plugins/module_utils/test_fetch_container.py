# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1: the fetcher runs under the collection's own profiles, or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.fetch_container import (
    FetcherSettings,
    require_ready,
    security_options,
)
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profile_data import seccomp_text

pytestmark = pytest.mark.row("I1")


def settings(
    tmp_path: Path, text: str | None = None, apparmor: str | None = None, loaded: str | None = None
) -> FetcherSettings:
    profile = tmp_path / "rampart.json"
    if text is not None:
        profile.write_text(text)
    for path, content in (
        ("module/apparmor/parameters/enabled", apparmor),
        ("kernel/security/apparmor/profiles", loaded),
    ):
        if content is not None:
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text(content)
    return FetcherSettings("sha256:x", 10003, tmp_path / "egress.sock", None, 1, seccomp=profile, sysfs=tmp_path)


def code(made: FetcherSettings) -> str:
    with pytest.raises(FindingError) as caught:
        security_options(made)
    assert caught.value.finding.remedy
    return caught.value.finding.code


def test_the_profile_in_place_is_handed_to_the_engine(tmp_path: Path) -> None:
    options = security_options(settings(tmp_path, seccomp_text() + "\n"))
    assert options == ["no-new-privileges:true", "seccomp=" + seccomp_text()]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "unconfined",
        '{"defaultAction":"SCMP_ACT_ALLOW"}',
        "\u00e9",
        seccomp_text(gpu=True),
        seccomp_text()[:-1],
    ],
)
def test_no_profile_or_another_one_is_refused(tmp_path: Path, text: str | None) -> None:
    assert code(settings(tmp_path, text)) == "FETCH-CONFINEMENT"


def test_where_the_kernel_has_apparmor_its_profile_has_to_be_enforced(tmp_path: Path) -> None:
    loaded = "docker-default (enforce)\nrampart-fetcher (enforce)\n"
    assert "apparmor=rampart-fetcher" in security_options(settings(tmp_path, seccomp_text(), "Y\n", loaded))


@pytest.mark.parametrize("loaded", [None, "", "docker-default (enforce)\n", "rampart-fetcher (complain)\n"])
def test_an_apparmor_profile_that_is_not_enforced_is_refused(tmp_path: Path, loaded: str | None) -> None:
    assert code(settings(tmp_path, seccomp_text(), "Y\n", loaded)) == "FETCH-CONFINEMENT"


def test_a_kernel_that_has_it_switched_off_asks_for_none(tmp_path: Path) -> None:
    assert len(security_options(settings(tmp_path, seccomp_text(), "N\n"))) == 2


def test_nothing_is_begun_without_profiles(tmp_path: Path) -> None:
    with pytest.raises(FindingError) as caught:
        require_ready(Engine(str(tmp_path / "none.sock")), settings(tmp_path))
    assert caught.value.finding.code == "FETCH-CONFINEMENT"
