# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: the publisher never leaves anything half-written, and trusts nothing in quarantine."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import publish as publishing
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.publish import (
    Publication,
    publish,
    store_lock,
    unpublish,
)
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    path = tmp_path / "quarantine"
    path.mkdir()
    return path


def lay(quarantine: Path, made: Any, digests: Any = None) -> Publication:
    """Lay a model into quarantine, as the fetcher leaves it."""
    sources = {}
    for digest in digests if digests is not None else made.blobs:
        path = quarantine / digest.replace(":", "-")
        path.write_bytes(made.blobs[digest])
        sources[digest] = path
    return Publication(approval_from_entry(made.entry()), made.manifest, sources)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    return caught.value.finding.code


def test_s2_a_published_model_verifies_and_is_made_of_new_inodes(
    maker: Any, model: Callable[..., Any], quarantine: Path
) -> None:
    made = model("test:1", os.urandom(3_000_000), b"license", b"")
    publication = lay(quarantine, made)
    inodes = {path.stat().st_ino for path in quarantine.iterdir()}
    publish(maker.store, publication)
    approvals = {publication.approval.name.key: publication.approval}
    assert verify(maker.store, approvals).findings == []
    assert {path.stat().st_ino for path in (maker.root / "blobs").iterdir()}.isdisjoint(inodes)
    assert {path.name for path in maker.root.iterdir()} == {"blobs", "manifests"}


def test_s2_what_is_written_to_quarantine_later_does_not_reach_the_store(
    maker: Any, model: Callable[..., Any], quarantine: Path
) -> None:
    made = model("test:1", b"w" * 100_000)
    held = (quarantine / made.weights.replace(":", "-")).open("w+b")
    held.write(made.blobs[made.weights])
    held.flush()
    publication = lay(quarantine, made, [made.config])
    publish(
        maker.store,
        Publication(publication.approval, made.manifest, {**publication.sources, made.weights: Path(held.name)}),
    )
    held.seek(0)
    held.write(b"evil")
    held.close()
    assert maker.blob(made.weights).read_bytes() == made.blobs[made.weights]


def test_s2_a_shared_blob_need_not_be_given_again(maker: Any, model: Callable[..., Any], quarantine: Path) -> None:
    first, second = model("test:1", b"one", b"shared"), model("test:2", b"two", b"shared")
    publish(maker.store, lay(quarantine, first))
    missing = [digest for digest in second.blobs if digest not in first.blobs]
    publish(maker.store, lay(quarantine, second, missing))
    maker.models = [first, second]
    approvals = {made.reference: approval_from_entry(made.entry()) for made in maker.models}
    assert verify(maker.store, {item.name.key: item for item in approvals.values()}).findings == []


@pytest.mark.parametrize("what", ["flipped", "truncated", "extended", "link", "fifo", "directory"])
def test_s2_nothing_bad_in_quarantine_is_published(
    maker: Any, model: Callable[..., Any], quarantine: Path, what: str, tmp_path: Path
) -> None:
    maker.put(model("old:1", b"old"))
    made = model("test:1", b"w" * 1000, b"license")
    publication = lay(quarantine, made)
    path = publication.sources[made.weights]
    data = path.read_bytes()
    if what in ("link", "fifo", "directory"):
        path.unlink()
    if what == "link":
        (tmp_path / "same").write_bytes(data)
        path.symlink_to(tmp_path / "same")
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        path.write_bytes({"flipped": b"v" + data[1:], "truncated": data[:-1], "extended": data + b"x"}[what])
    before = maker.tree()
    expected = {"flipped": "PUBLISH-DIGEST-MISMATCH", "truncated": "PUBLISH-SIZE-MISMATCH"}
    expected["extended"] = "PUBLISH-SIZE-MISMATCH"
    assert refusal(lambda: publish(maker.store, publication)) == expected.get(what, "PUBLISH-UNSAFE-FILE")
    assert maker.tree() == before


def test_s2_another_manifest_than_the_approved_is_not_published(
    maker: Any, model: Callable[..., Any], quarantine: Path
) -> None:
    made, other = model("test:1", b"w"), model("test:1", b"v")
    publication = lay(quarantine, made)
    bad = Publication(publication.approval, other.manifest, publication.sources)
    assert refusal(lambda: publish(maker.store, bad)) == "STORE-MANIFEST-MISMATCH"
    assert maker.tree() == {}


@pytest.mark.parametrize("call", ["copy_file_range", "fsync", "rename", "fchmod", "fchown", "mkdir"])
@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_s2_a_failure_at_any_step_leaves_the_store_as_it_was(
    maker: Any,
    model: Callable[..., Any],
    quarantine: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after: int,
    number: int,
) -> None:
    old = maker.put(model("old:1", b"old", b"shared"))
    made = model("test:1", b"w" * 1000, b"shared")
    publication = lay(quarantine, made, [digest for digest in made.blobs if digest not in old.blobs])
    before = {name: seen for name, seen in maker.tree().items() if "registry" not in name or seen[1]}
    real, calls = getattr(os, call), 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(publishing.os, call, failing)
        if calls_needed(call) <= after:
            publish(maker.store, publication)
            return
        code = refusal(lambda: publish(maker.store, publication))
    assert code == ("DISK-FULL" if number == errno.ENOSPC else "PUBLISH-DISK")
    after_tree = {name: seen for name, seen in maker.tree().items() if "registry" not in name or seen[1]}
    assert after_tree == before
    publish(maker.store, publication)
    approvals = {item.name.key: item for item in map(approval_from_entry, (old.entry(), made.entry()))}
    assert verify(maker.store, approvals).findings == []


def calls_needed(call: str) -> int:
    """How often a publication of two new blobs into a store with a model makes a call, at the least."""
    return {"copy_file_range": 2, "rename": 3, "fchmod": 3, "fchown": 3, "mkdir": 6}.get(call, 9)


def test_s2_a_failure_after_the_last_rename_leaves_a_whole_model(
    maker: Any, model: Callable[..., Any], quarantine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model("test:1", b"w" * 1000)
    publication = lay(quarantine, made)
    real = os.fsync

    def failing(descriptor: int) -> None:
        if maker.manifest(made).exists():
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(publishing.os, "fsync", failing)
        assert refusal(lambda: publish(maker.store, publication)) == "PUBLISH-DISK"
    assert verify(maker.store, {publication.approval.name.key: publication.approval}).findings == []


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="no copy_file_range here")
def test_s2_where_the_kernel_cannot_copy_a_buffer_does(
    maker: Any, model: Callable[..., Any], quarantine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_arguments: Any) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(publishing.os, "copy_file_range", refusing)
    made = model("test:1", os.urandom(100_000))
    publish(maker.store, lay(quarantine, made))
    assert maker.blob(made.weights).read_bytes() == made.blobs[made.weights]


def test_s2_links_in_the_store_are_not_followed(
    maker: Any, model: Callable[..., Any], quarantine: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (maker.root / "manifests").symlink_to(tmp_path / "outside")
    made = model("test:1", b"w")
    assert refusal(lambda: publish(maker.store, lay(quarantine, made))) == "PUBLISH-DISK"
    assert list((tmp_path / "outside").iterdir()) == []
    assert list((maker.root / "blobs").iterdir()) == []


def test_s2_what_an_interrupted_run_left_is_cleared(maker: Any, model: Callable[..., Any], quarantine: Path) -> None:
    (maker.root / ".publishing").mkdir()
    (maker.root / ".publishing" / "half").write_bytes(b"x")
    publish(maker.store, lay(quarantine, model("test:1", b"w")))
    assert not (maker.root / ".publishing").exists()


def test_s2_two_runs_cannot_meet(maker: Any) -> None:
    with store_lock(maker.store):

        def second() -> None:
            with store_lock(maker.store):
                raise AssertionError("both runs hold the lock")

        assert refusal(second) == "STORE-BUSY"
    with store_lock(maker.store):
        pass
    assert verify(maker.store, {}).verdict == "passed"


def test_s2_removing_keeps_what_another_model_uses(maker: Any, model: Callable[..., Any]) -> None:
    first, second = maker.put(model("one:1", b"one", b"shared")), maker.put(model("two:1", b"two", b"shared"))
    removed = unpublish(maker.store, parse_name("one:1"))
    assert removed == sorted(digest for digest in first.blobs if digest not in second.blobs)
    approval = approval_from_entry(second.entry())
    assert verify(maker.store, {approval.name.key: approval}).findings == []
    assert not (maker.root / "manifests/registry.ollama.ai/library/one").exists()


def test_s2_a_model_under_capital_letters_is_removed_where_it_lies(maker: Any, model: Callable[..., Any]) -> None:
    """Its name is lower case; its directory is not."""
    made = model("one:1", b"one")
    path = maker.root / "manifests/Registry.Ollama.AI/library/one/1"
    maker._file(path, made.manifest)
    for digest, data in made.blobs.items():
        maker._file(maker.blob(digest), data)
    assert unpublish(maker.store, parse_name("one:1")) == sorted(made.blobs)
    assert not path.exists()
    assert list((maker.root / "manifests").iterdir()) == []


def test_s2_removing_keeps_all_blobs_when_another_manifest_cannot_be_read(
    maker: Any, model: Callable[..., Any]
) -> None:
    first, second = maker.put(model("one:1", b"one")), maker.put(model("two:1", b"two"))
    maker.rewrite(maker.manifest(second), b"broken")
    assert unpublish(maker.store, parse_name("one:1")) == []
    assert maker.blob(first.weights).exists()
    assert not maker.manifest(first).exists()


def test_s2_a_new_version_takes_the_place_of_the_old_one_and_of_its_blobs(
    maker: Any, model: Callable[..., Any], quarantine: Path
) -> None:
    old, new = model("test:1", b"old", b"shared", b"kept"), model("test:1", b"new", b"shared")
    other = model("other:1", b"other", b"kept")
    for made in (old, other, new):
        publish(maker.store, lay(quarantine, made))
    approvals = {item.name.key: item for item in (approval_from_entry(made.entry()) for made in (new, other))}
    assert verify(maker.store, approvals).findings == []
    assert not maker.blob(old.weights).exists()


def test_s2_a_new_version_removes_nothing_while_another_manifest_cannot_be_read(
    maker: Any, model: Callable[..., Any], quarantine: Path
) -> None:
    old, other = model("test:1", b"old"), model("other:1", b"other")
    for made in (old, other):
        publish(maker.store, lay(quarantine, made))
    maker.rewrite(maker.manifest(other), b"{}")
    publish(maker.store, lay(quarantine, model("test:1", b"new")))
    assert maker.blob(old.weights).exists()
    assert maker.blob(other.weights).exists()
