# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S2, S6, W7, W8: what can go wrong ends in one clear message, leaves nothing behind, and heals.

Needs the hosts of molecule's default scenario, converged. The model is taken out of one host's store; every fault is
met on that host; at the end it is fetched again and the store is as it was.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook_runs import PHASES, ROOT, Run, fingerprint, on

HOST = "d13"
STORE = "/srv/rampart/store"
APPROVED: list[dict[str, Any]] = yaml.safe_load((ROOT / "inventories/demo/models_registry.yaml").read_text())["models"]
# Which models the server lists, asked through its socket.
ASK = (
    'python3 -c "import socket; s = socket.socket(socket.AF_UNIX); '
    's.connect(\\"/run/rampart/ollama/ollama.sock\\"); '
    's.sendall(b\\"GET /api/tags HTTP/1.0\\r\\n\\r\\n\\"); print(s.makefile().read())"'
)
WAYS_OUT = 'docker ps --all --format "{{.Names}}" | grep -E "rampart-(egress|fetcher)" || true'


def lab(*arguments: str) -> str:
    """One of the laboratory's commands."""
    return subprocess.run(
        [sys.executable, "tests/lab/lab.py", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


@contextmanager
def registry_fault(*fault: str) -> Iterator[None]:
    """The stand-in registry misbehaves, and is honest again whatever happens."""
    lab("registry", *fault)
    try:
        yield
    finally:
        lab("registry", "ok")


@contextmanager
def host_fault(break_it: str, mend_it: str) -> Iterator[None]:
    """Something on the host is broken, and mended whatever happens."""
    on(HOST, break_it)
    try:
        yield
    finally:
        on(HOST, mend_it)


def phase(number: int, *arguments: str) -> Run:
    return Run(f"playbooks/{PHASES[number]}.yml", "--limit", HOST, *arguments)


def assert_refused(run: Run, code: str) -> None:
    """One message with the code and what to do, an exit status, no traceback."""
    text = " ".join(run.output.split())
    assert run.status == 2, run.output[-3000:]
    assert f"{code}:" in text, run.output[-3000:]
    assert "Traceback" not in run.output
    assert "rmp_" not in run.output


def content() -> str:
    return on(HOST, f"cd {STORE} && find manifests blobs -type f | sort")


@pytest.fixture(scope="class")
def empty_store() -> Iterator[str]:
    """A host whose store lost its model; what was there is what has to be there again at the end."""
    before = content()
    assert "sha256-" in before
    on(HOST, f"rm -r {STORE}/manifests/* {STORE}/blobs/*")
    yield before
    run = phase(2)
    assert run.status == 0, run.output[-3000:]
    assert content() == before


@pytest.mark.usefixtures("empty_store")
class TestFetch:
    """What meets a fetch; the store is whole again after the last of these."""

    @pytest.mark.row("S2")
    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (("lie",), "FETCH-DIGEST-MISMATCH"),
            (("size", "--bytes", "4096"), "FETCH-TOO-LARGE"),
            (("status", "--status", "503"), "FETCH-UNREACHABLE"),
            (("redirect", "--location", "https://elsewhere.example.org/blob"), "FETCH-REDIRECT-REFUSED"),
            (("endless",), "FETCH-TOO-LARGE"),
            (("loop",), "FETCH-REDIRECT-REFUSED"),
        ],
    )
    def test_a_registry_that_misbehaves_gets_nothing_into_the_store(
        self, fault: tuple[str, ...], code: str
    ) -> None:
        with registry_fault(*fault):
            run = phase(2)
        assert_refused(run, code)
        assert content() == ""
        assert on(HOST, WAYS_OUT) == ""

    @pytest.mark.row("S2")
    def test_a_registry_without_a_route_is_named(self) -> None:
        with host_fault("ip route add unreachable 198.51.100.10", "ip route del unreachable 198.51.100.10"):
            run = phase(2)
        assert_refused(run, "FETCH-UNREACHABLE")
        # The proxy's reason, not what TLS makes of its answer.
        assert "WRONG_VERSION" not in run.output
        assert content() == ""
        assert on(HOST, WAYS_OUT) == ""

    @pytest.mark.row("S5")
    def test_what_the_scanner_names_is_not_published(self) -> None:
        weights = max(
            (blob for entry in APPROVED for blob in entry["blobs"]), key=lambda blob: int(blob["size"])
        )
        signature = f"{weights['digest'][7:]}:{weights['size']}:Rampart.Test.Weights:73"
        file = "/var/lib/clamav/refused.hsb"
        reload = "systemctl restart clamav-daemon && sleep 2"
        with host_fault(f'echo "{signature}" > {file} && {reload}', f"rm {file} && {reload}"):
            run = phase(2)
        assert_refused(run, "SCAN-INFECTED")
        assert content() == ""
        # Kept for a person to look at; the next run brings the model anew.
        assert ".refused" in on(HOST, "ls /srv/rampart/quarantine")

    @pytest.mark.row("S2")
    def test_a_full_disk_is_seen_before_anything_is_fetched(self) -> None:
        quarantine = "/srv/rampart/quarantine"
        mount = f"mount -t tmpfs -o size=20m,mode=0700,uid=10003,gid=10003 tmpfs {quarantine}"
        with host_fault(mount, f"umount {quarantine}"):
            run = phase(2)
        assert_refused(run, "DISK-FULL")
        assert content() == ""
        assert on(HOST, WAYS_OUT) == ""


@pytest.fixture
def revoked(tmp_path: Path) -> Iterator[Path]:
    """An approvals file that revokes the model it approves. At the end the host has forgotten it, and serves again."""
    file = tmp_path / "models_registry.yaml"
    revocation = {
        "digest": APPROVED[0]["digest"],
        "reason": "a test",
        "revoked_date": "2026-11-24",
        "revoked_by": "lab@example.org",
    }
    file.write_text(yaml.safe_dump({"models": APPROVED, "revocations": [revocation]}, sort_keys=False))
    yield file
    on(HOST, "rm -f /var/lib/rampart/revocations.json")
    for number in (2, 3):
        run = phase(number)
        assert run.status == 0, run.output[-3000:]


@pytest.mark.row("S6")
def test_a_revoked_model_leaves_the_host_and_stays_away(revoked: Path) -> None:
    assert "smollm2" in on(HOST, ASK)
    run = phase(2, "--extra-vars", f"model_store_approvals_file={revoked}")
    assert_refused(run, "APPROVAL-REVOKED")
    assert content() == ""
    assert "smollm2" not in on(HOST, f"for n in 1 2 3 4 5 6 7 8 9; do {ASK} && break; sleep 1; done")
    # The file says nothing of it any more; the host remembers, and nothing is fetched.
    again = phase(2)
    assert_refused(again, "APPROVAL-REVOKED")
    assert content() == ""


@pytest.fixture
def tampered() -> Iterator[None]:
    """A host in whose store one byte of the weights was changed; whole and served again at the end."""
    weights = f"$(ls -S {STORE}/blobs/* | head -n 1)"
    on(HOST, f'printf X | dd of="{weights}" bs=1 seek=50000000 conv=notrunc status=none')
    yield
    on(HOST, f"rm -rf {STORE}/blobs/* {STORE}/manifests/* /srv/rampart/store-evidence")
    for number in (2, 3, 4):
        run = phase(number)
        assert run.status == 0, run.output[-3000:]


@pytest.mark.row("S3", "S9", "C1")
@pytest.mark.usefixtures("tampered")
def test_a_changed_store_is_refused_and_taken_out_of_service() -> None:
    """A byte changed after phase 2: the next phase is no evidence, loses its mark, and phase 2 clears the store."""
    mark, evidence = "/var/lib/rampart/phases/phase3.json", ROOT / "reports/demo" / HOST / "phase3.json"
    run = phase(3)
    assert_refused(run, "STORE-REFUSED")
    assert on(HOST, f"ls {mark} || true") == ""
    assert '"verified": false' in evidence.read_text(encoding="utf-8")
    assert "sha256-" in content()
    # As in staging and prod; by the tag alone, since a whole phase would fetch the approved bytes first.
    quarantine = ("--tags", "control_report", "--extra-vars", "model_store_on_failure=quarantine")
    run = phase(2, *quarantine)
    assert_refused(run, "CONTROL-FAILED")
    assert "STORE-QUARANTINED: registry.ollama.ai/library/smollm2" in " ".join(run.output.split())
    assert content() == ""
    assert "findings.json" in on(HOST, "ls /srv/rampart/store-evidence/*")
    assert "smollm2" not in on(HOST, f"for n in 1 2 3 4 5 6 7 8 9; do {ASK} && break; sleep 1; done")


@pytest.mark.row("S9")
@pytest.mark.parametrize(
    ("number", "skipped"), [(2, "always"), (2, "always,images"), (3, "always,images")], ids=["images", "store", "serve"]
)
def test_no_tag_gets_round_the_promotion(number: int, skipped: str) -> None:
    """Staging without asking for the promotion: whichever role comes first refuses, and nothing is changed."""
    before = fingerprint(HOST)
    lock = ROOT / ".artifacts/images.json"
    approvals = ("--extra-vars", "model_store_environment=demo model_store_on_failure=report")
    staging = ("--extra-vars", "rampart_environment=staging", *approvals)
    run = phase(number, "--skip-tags", skipped, *staging, "--extra-vars", f'{{"images_lock": {lock.read_text()}}}')
    assert_refused(run, "PROMOTION-SKIPPED")
    assert fingerprint(HOST) == before


@pytest.mark.row("S6")
def test_a_model_without_approval_is_not_fetched() -> None:
    before = fingerprint(HOST)
    run = phase(2, "--extra-vars", '{"rampart_models": ["mistral:7b-instruct-v0.3-q4_K_M"]}')
    assert_refused(run, "APPROVAL-MISSING")
    assert fingerprint(HOST) == before


@pytest.mark.row("S1")
def test_a_source_that_is_not_listed_is_refused() -> None:
    before = fingerprint(HOST)
    run = phase(2, "--extra-vars", '{"model_store_allowed_sources": ["registry.example.org/library/"]}')
    assert_refused(run, "SOURCE-REFUSED")
    assert fingerprint(HOST) == before


@pytest.mark.row("W8")
def test_a_stopped_docker_engine_is_named() -> None:
    with host_fault("systemctl stop docker.socket docker.service", "systemctl start docker.service"):
        run = phase(3)
    assert_refused(run, "ENGINE-DOWN")
    again = phase(3)
    assert again.status == 0, again.output[-3000:]


@pytest.mark.row("W7")
def test_an_unsupported_system_is_refused_before_anything_is_changed() -> None:
    before = fingerprint(HOST)
    fake = 'printf "ID=debian\\nVERSION_ID=\\"10\\"\\nPRETTY_NAME=\\"Debian 10\\"\\n" > /run/os-release.old'
    with host_fault(
        f"{fake}; mount --bind /run/os-release.old /usr/lib/os-release", "umount /usr/lib/os-release"
    ):
        run = phase(1)
    assert_refused(run, "HOST-OS-UNSUPPORTED")
    assert fingerprint(HOST) == before
