# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows C1 to C5: each phase runs alone, predicts in check mode, changes nothing twice, and keeps its order.

Needs the hosts of molecule's default scenario, converged (make molecule, or molecule converge).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from playbook_runs import PHASES, ROOT, Run, fingerprint, on


@contextmanager
def without_marker(host: str, phase: int) -> Iterator[None]:
    """A host on which a phase seems not to have been applied; put back whatever happens."""
    marker = f"/var/lib/rampart/phases/phase{phase}.json"
    on(host, f"mv {marker} {marker}.away")
    try:
        yield
    finally:
        on(host, f"mv {marker}.away {marker}")


@pytest.mark.row("C1-C5")
@pytest.mark.parametrize("phase", PHASES)
def test_phase_in_check_mode_changes_nothing(phase: int) -> None:
    before = fingerprint("d13")
    run = Run(f"playbooks/{PHASES[phase]}.yml", "--check", "--diff", "--limit", "d13")
    assert run.status == 0, run.output[-4000:]
    assert run.changed["d13"] == 0, run.output
    assert fingerprint("d13") == before


@pytest.mark.row("C1-C5")
@pytest.mark.parametrize("phase", PHASES)
def test_phase_alone_and_again_changes_nothing(phase: int) -> None:
    run = Run(f"playbooks/{PHASES[phase]}.yml", "--limit", "d12")
    assert run.status == 0, run.output[-4000:]
    assert run.changed["d12"] == 0, run.output
    assert "d13" not in run.changed


@pytest.mark.row("C1-C5")
@pytest.mark.parametrize("phase", [2, 3, 4, 5])
def test_check_without_the_phase_before_says_so_in_one_line(phase: int) -> None:
    with without_marker("d12", phase - 1):
        before = fingerprint("d12")
        run = Run(f"playbooks/{PHASES[phase]}.yml", "--check", "--limit", "d12")
        assert fingerprint("d12") == before
    assert run.status == 0, run.output[-4000:]
    assert run.changed["d12"] == 0
    assert run.output.count("PHASE-ORDER") == 1


@pytest.mark.row("C1-C5")
def test_a_phase_is_refused_without_the_one_before() -> None:
    with without_marker("d12", 2):
        before = fingerprint("d12")
        run = Run("playbooks/phase3_harden.yml", "--limit", "d12")
        assert fingerprint("d12") == before
    assert run.status != 0
    assert "PHASE-ORDER: phase 2 was not applied" in " ".join(run.output.split())
    assert "Traceback" not in run.output


@pytest.mark.row("C1-C5")
def test_no_tag_gets_round_the_order() -> None:
    with without_marker("d12", 2):
        run = Run("playbooks/phase3_harden.yml", "--limit", "d12", "--tags", "gateway")
    assert run.status != 0
    assert "PHASE-ORDER: phase 2 was not applied" in " ".join(run.output.split())


@pytest.mark.row("C1-C5")
@pytest.mark.parametrize(("phase", "tag"), [(1, "firewall"), (1, "security_updates"), (3, "gateway")])
def test_one_tag_runs_by_itself(phase: int, tag: str) -> None:
    run = Run(f"playbooks/{PHASES[phase]}.yml", "--tags", tag, "--limit", "d13")
    assert run.status == 0, run.output[-4000:]
    assert run.changed["d13"] == 0, run.output
    # The role of the tag has run: an empty run would also have changed nothing.
    assert f"rampart.ollama.{tag} :" in run.output or f"{tag} :" in run.output


@pytest.mark.row("C1-C5")
def test_a_limit_that_matches_no_host_is_an_error() -> None:
    run = Run("playbooks/phase1_prepare.yml", "--limit", "nosuchhost")
    assert run.status != 0
    assert "Traceback" not in run.output


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Settings of a controller that has the built collection installed, and no checkout of it on any path."""
    subprocess.run(["scripts/build_install"], cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    archive = next((ROOT / "build/galaxy").glob("rampart-ollama-*.tar.gz"))
    install = ["ansible-galaxy", "collection", "install", "--no-deps", "--offline", "-p", str(tmp_path), str(archive)]
    # Without this the checkout's own link would count as installed already.
    elsewhere = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    subprocess.run(install, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=elsewhere)
    for namespace in ("ansible", "community"):
        dependency = tmp_path / "ansible_collections" / namespace
        dependency.symlink_to(ROOT / ".collections/ansible_collections" / namespace)
    config = tmp_path / "ansible.cfg"
    config.touch()
    return {"ANSIBLE_CONFIG": str(config), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}


@pytest.mark.row("C1-C5")
def test_site_by_name_from_the_installed_collection_changes_nothing(
    installed: dict[str, str], tmp_path: Path
) -> None:
    run = Run("rampart.ollama.site", "--limit", "d12", directory=tmp_path, settings=installed)
    assert run.status == 0, run.output[-4000:]
    assert run.changed["d12"] == 0, run.output
