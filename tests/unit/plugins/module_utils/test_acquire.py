# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: between what a source has brought and what is published: the look of others, the disk, the lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import acquire
from ansible_collections.rampart.ollama.plugins.module_utils.approval import Approval, approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.names import blob_file
from ansible_collections.rampart.ollama.plugins.module_utils.sources import Delivery
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

pytestmark = pytest.mark.row("S2")


@dataclass
class FakeSource:
    """Lays a model's files into quarantine; `brought` counts how often."""

    made: Any
    brought: list[list[str]] = field(default_factory=list)
    ready: bool = True

    def require_ready(self) -> None:
        if not self.ready:
            raise refuse("FETCH-UNREACHABLE", "the source", "not there", "Put it there.")

    def part(self, quarantine: Path, approval: Approval) -> Path:
        return quarantine / blob_file(approval.digest)

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> Delivery:
        self.brought.append(sorted(blobs))
        directory = self.part(quarantine, approval)
        directory.mkdir(exist_ok=True, mode=0o755)
        files = {}
        for digest in blobs:
            files[digest] = directory / blob_file(digest)
            files[digest].write_bytes(self.made.blobs[digest])
        return Delivery(directory, self.made.manifest, files, {"bytes": 1})


@pytest.fixture
def made(model: Callable[..., Any]) -> Any:
    return model("test:1", b"w" * 1000, b"license")


@pytest.fixture
def host(maker: Any, made: Any, tmp_path: Path) -> Any:
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir(mode=0o700)
    source = FakeSource(made)
    approval = approval_from_entry(made.entry())

    def present(**changes: Any) -> Any:
        return acquire.present(maker.store, quarantine, source, approval, 1, **changes)

    return SimpleNamespace(present=present, maker=maker, quarantine=quarantine, source=source, approval=approval)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_s2_whoever_screens_sees_what_is_published_and_nobody_else_can_change_it(host: Any, made: Any) -> None:
    seen: dict[str, Any] = {}

    def screen(manifest: bytes, files: Mapping[str, Path]) -> None:
        seen["manifest"] = manifest
        seen["files"] = {digest: path.read_bytes() for digest, path in files.items()}
        seen["modes"] = {path.parent.stat().st_mode & 0o777 for path in files.values()}
        seen["owner"] = {path.parent.stat().st_uid for path in files.values()}
        seen["store"] = set(host.maker.tree())

    todo, counts = host.present(screen=screen)
    assert (todo.changed, counts) == (True, {"bytes": 1})
    assert seen["manifest"] == made.manifest
    assert seen["files"] == made.blobs
    assert (seen["modes"], seen["owner"]) == ({0o700}, {os.getuid()})
    # Before anything of it can be seen in the store.
    assert seen["store"] == {".lock"}
    assert verify(host.maker.store, {host.approval.name.key: host.approval}).findings == []
    assert names(host.quarantine) == []


def no(_manifest: bytes, _files: Mapping[str, Path]) -> None:
    raise refuse("SCAN-INFECTED", "sha256:x", "Eicar-Signature was found.", "Ask the security officer.")


def test_s2_what_is_refused_is_not_published_and_stays_as_evidence(host: Any, made: Any) -> None:
    with pytest.raises(FindingError) as caught:
        host.present(screen=no)
    finding = caught.value.finding
    kept = host.quarantine / (blob_file(made.digest) + ".refused")
    assert (finding.code, finding.subject) == ("SCAN-INFECTED", "sha256:x")
    assert finding.evidence == "Eicar-Signature was found; the files are kept in {0}".format(kept)
    assert finding.remedy.startswith("Ask the security officer. The next run brings the model anew")
    assert set(host.maker.tree()) == {".lock"}
    assert names(host.quarantine) == [kept.name]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        blob_file(digest): data for digest, data in made.blobs.items()
    }
    assert kept.stat().st_mode & 0o777 == 0o700


def test_s2_the_next_run_begins_anew_and_says_so_again(host: Any, made: Any) -> None:
    for _run in range(3):
        with pytest.raises(FindingError, match=r"^SCAN-INFECTED: "):
            host.present(screen=no)
        assert names(host.quarantine) == [blob_file(made.digest) + ".refused"]
    assert host.source.brought == [sorted(made.blobs)] * 3


def test_s2_evidence_goes_when_the_model_was_published_after_all(host: Any) -> None:
    with pytest.raises(FindingError):
        host.present(screen=no)
    host.present(screen=lambda manifest, files: None)
    assert names(host.quarantine) == []


def test_s2_what_is_sealed_anew_is_looked_at_too_and_stays_in_the_store(host: Any, made: Any) -> None:
    host.present()
    path = host.maker.blob(made.weights)
    path.chmod(0o666)
    seen: list[dict[str, Path]] = []

    def screen(_manifest: bytes, files: Mapping[str, Path]) -> None:
        seen.append(dict(files))
        raise refuse("SCAN-INFECTED", "x", "y", "z")

    with pytest.raises(FindingError, match=r"^SCAN-INFECTED: x: y\. z"):
        host.present(screen=screen)
    assert seen == [{made.weights: path}]
    assert names(host.quarantine) == []
    assert path.exists()


def test_s2_nobody_is_asked_when_nothing_is_to_be_done(host: Any) -> None:
    host.present()
    todo, counts = host.present(screen=no)
    assert (todo.changed, counts) == (False, {})


def test_s2_the_publisher_does_not_believe_the_screen(host: Any, made: Any) -> None:
    def swaps(_manifest: bytes, files: Mapping[str, Path]) -> None:
        files[made.weights].write_bytes(b"v" * 1000)

    with pytest.raises(FindingError, match=r"^PUBLISH-DIGEST-MISMATCH: "):
        host.present(screen=swaps)
    assert set(host.maker.tree()) == {".lock"}


def test_s2_two_runs_do_not_meet(host: Any) -> None:
    (host.maker.root / ".lock").touch(mode=0o600)
    with (host.maker.root / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FindingError, match=r"^STORE-BUSY: "):
            host.present()
    assert host.source.brought == []
    host.present()


def test_s2_a_source_that_is_not_ready_is_asked_for_nothing(host: Any) -> None:
    host.source.ready = False
    with pytest.raises(FindingError, match=r"^FETCH-UNREACHABLE: "):
        host.present()
    assert host.source.brought == []


@pytest.mark.parametrize(("left", "enough"), [(0, False), (500_000, True)])
def test_s2_what_is_in_quarantine_already_needs_no_room_again(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, left: int, enough: bool
) -> None:
    made = model("test:1", b"w" * 1_000_000)
    approval = approval_from_entry(made.entry())
    part = host.quarantine / "part"
    part.mkdir()
    (part / (blob_file(made.weights) + ".part")).write_bytes(b"w" * left)
    # Room for the store's copy, half of quarantine's, and the margin.
    free = 1_600_000 + acquire.MARGIN_BYTES
    monkeypatch.setattr(acquire.os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_frsize=1))
    plan = acquire.plan(host.maker.store, approval, 1)
    if enough:
        acquire.require_space(host.maker.store, host.quarantine, plan, part)
    else:
        with pytest.raises(FindingError, match=r"^DISK-FULL: "):
            acquire.require_space(host.maker.store, host.quarantine, plan, part)


def test_s2_a_hole_in_a_part_is_no_byte_that_is_there(host: Any, made: Any) -> None:
    part = host.quarantine / "part"
    part.mkdir()
    with (part / (blob_file(made.weights) + ".part")).open("wb") as stream:
        stream.truncate(1000)
    plan = acquire.plan(host.maker.store, host.approval, 1)
    assert acquire._left_by_an_earlier_run(plan, part) == 0
    assert acquire._left_by_an_earlier_run(plan, None) == 0
