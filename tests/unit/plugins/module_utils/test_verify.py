# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: whatever is wrong with a store is found, named, and nothing else is."""

from __future__ import annotations

import os
import random
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import hashing
from ansible_collections.rampart.ollama.plugins.module_utils import store as store_module
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import hash_file, hash_files
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport


def verified(maker: Any, **options: Any) -> VerifyReport:
    entries = [model.entry() for model in maker.models]
    return verify(maker.store, approvals_from_entries(entries), **options)


def codes(report: VerifyReport) -> list[str]:
    return [finding.code for finding in report.findings]


def statuses(report: VerifyReport) -> dict[str, str]:
    return {item.id: item.status for item in report.checks}


@pytest.fixture
def one(maker: Any, model: Callable[..., Any]) -> Any:
    """A store with one good model."""
    maker.put(model("mistral:7b", b"weights" * 1000, b"license"))
    return maker


def test_s3_a_good_store_passes_and_every_byte_was_hashed(one: Any) -> None:
    before = one.tree()
    report = verified(one)
    assert report.findings == []
    assert report.verdict == "passed"
    assert report.bytes_hashed == sum(len(data) for data in one.models[0].blobs.values())
    assert set(statuses(report).values()) == {"passed"}
    assert report.as_result()["models"] == [
        {
            "name": "registry.ollama.ai/library/mistral:7b",
            "digest": one.models[0].digest,
            "size": report.bytes_hashed,
            "blobs": 3,
            "verified": True,
            "not_reread_since": "",
        }
    ]
    assert one.tree() == before


def test_s3_a_missing_store_is_one_finding_and_nothing_passes(tmp_path: Path) -> None:
    report = verify(ModelStore(tmp_path / "none"), {})
    assert codes(report) == ["STORE-MISSING"]
    assert report.verdict == "failed"
    assert "passed" not in statuses(report).values()


def test_s3_a_store_that_is_a_symbolic_link_is_refused(one: Any, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(one.root)
    assert codes(verify(ModelStore(link, os.getuid(), os.getgid()), {})) == ["STORE-MISSING"]


def test_s3_one_flipped_byte_anywhere_is_found_200_times_of_200(maker: Any, model: Callable[..., Any]) -> None:
    dice = random.Random(20260131)
    shared = dice.randbytes(3000)
    for number in range(20):
        weights = dice.randbytes(dice.randrange(1, 400_000))
        maker.put(model("family{0}:v{0}".format(number % 7) + str(number), weights, shared))
    approvals = approvals_from_entries([made.entry() for made in maker.models])
    assert verify(maker.store, approvals).findings == []
    digests = sorted({digest for made in maker.models for digest in made.blobs})
    for _round in range(200):
        digest = dice.choice(digests)
        path = maker.blob(digest)
        good = path.read_bytes()
        place = dice.randrange(len(good))
        bad = bytearray(good)
        bad[place] ^= 1 << dice.randrange(8)
        maker.rewrite(path, bytes(bad))
        report = verify(maker.store, approvals)
        users = {made.reference for made in maker.models if digest in made.blobs}
        # A flipped config may also stop being JSON; that is another true finding about the same model.
        assert codes(report)[0] == "STORE-DIGEST-MISMATCH"
        assert set(codes(report)) <= {"STORE-DIGEST-MISMATCH", "STORE-MANIFEST-INVALID"}
        assert [item.subject for item in report.findings if item.code == "STORE-DIGEST-MISMATCH"] == [digest]
        unverified = {item.name.rsplit("/", 1)[1] for item in report.models if not item.verified}
        assert unverified == users
        maker.rewrite(path, good)
    assert verify(maker.store, approvals).findings == []


@pytest.mark.parametrize("change", [b"", b"weights", b"weights" * 1000 + b"x"])
def test_s3_a_truncated_or_extended_blob_is_found(one: Any, change: bytes) -> None:
    one.rewrite(one.blob(one.models[0].weights), change)
    report = verified(one)
    assert sorted(codes(report)) == ["STORE-DIGEST-MISMATCH", "STORE-SIZE-MISMATCH"]
    assert statuses(report)["store-blobs-verified"] == "failed"
    assert not report.models[0].verified


def test_s3_two_swapped_blobs_are_both_found(one: Any) -> None:
    made = one.models[0]
    first, second = one.blob(made.config), one.blob(made.weights)
    first_data, second_data = first.read_bytes(), second.read_bytes()
    one.rewrite(first, second_data)
    one.rewrite(second, first_data)
    report = verified(one)
    assert codes(report).count("STORE-DIGEST-MISMATCH") == 2
    assert codes(report).count("STORE-SIZE-MISMATCH") == 2


def test_s3_a_missing_blob_is_found(one: Any) -> None:
    one.blob(one.models[0].weights).unlink()
    report = verified(one)
    assert codes(report) == ["STORE-BLOB-MISSING"]
    assert not report.models[0].verified


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o555, 0o4444, 0o400])
def test_s3_a_wrong_mode_is_found(one: Any, mode: int) -> None:
    one.blob(one.models[0].weights).chmod(mode)
    report = verified(one)
    assert codes(report) == ["STORE-MODE"]
    assert statuses(report)["store-permissions"] == "failed"


@pytest.mark.parametrize("where", ["", "blobs", "manifests", "manifests/registry.ollama.ai/library"])
def test_s3_a_writable_directory_is_found(one: Any, where: str) -> None:
    (one.root / where).chmod(0o777)
    assert codes(verified(one)) == ["STORE-MODE"]


def test_s3_a_wrong_owner_is_found_everywhere(one: Any) -> None:
    other = ModelStore(one.root, os.getuid() + 1, os.getgid())
    report = verify(other, approvals_from_entries([one.models[0].entry()]))
    assert set(codes(report)) == {"STORE-OWNER"}
    assert len(report.findings) == len(one.tree()) + 1


def test_s3_a_symbolic_link_instead_of_a_blob_is_found_and_not_followed(one: Any, tmp_path: Path) -> None:
    path = one.blob(one.models[0].weights)
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    report = verified(one)
    assert sorted(codes(report)) == ["STORE-BLOB-MISSING", "STORE-SYMLINK"]
    assert report.bytes_hashed < outside.stat().st_size


def test_s3_linked_directories_are_found_and_not_followed(one: Any, tmp_path: Path) -> None:
    (one.root / "manifests").rename(tmp_path / "manifests")
    (one.root / "manifests").symlink_to(tmp_path / "manifests")
    report = verified(one)
    assert "STORE-SYMLINK" in codes(report)
    assert report.models == []


def test_s3_a_second_name_of_a_blob_is_found(one: Any, tmp_path: Path) -> None:
    os.link(one.blob(one.models[0].weights), tmp_path / "also")
    assert codes(verified(one)) == ["STORE-HARDLINK"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("blobs/notes.txt", "STORE-UNEXPECTED-FILE"),
        ("blobs/sha256-" + "A" * 64, "STORE-UNEXPECTED-FILE"),
        ("blobs/sha256-" + "a" * 64 + "-partial", "STORE-PARTIAL"),
        ("blobs/sha256-" + "a" * 64 + "-partial-3", "STORE-PARTIAL"),
        ("blobs/sha256-" + "a" * 64 + ".tmp", "STORE-PARTIAL"),
        ("blobs/sha256-1234567", "STORE-PARTIAL"),
        ("id_ed25519", "STORE-UNEXPECTED-FILE"),
        ("manifests/registry.ollama.ai/stray", "STORE-UNEXPECTED-FILE"),
        ("manifests/registry.ollama.ai/library/mistral/sub/deeper", "STORE-UNEXPECTED-FILE"),
        ("manifests/registry.ollama.ai/library/mistral/.hidden", "STORE-MANIFEST-INVALID"),
        ("manifests/registry.ollama.ai/library/mistral/x-cloud", "STORE-MANIFEST-INVALID"),
        ("manifest-v2/x", "STORE-MANIFEST-V2"),
    ],
)
def test_s3_stray_and_partial_files_are_found(one: Any, name: str, code: str) -> None:
    path = one.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")
    path.chmod(0o444)
    report = verified(one)
    assert codes(report) == [code]
    assert report.verdict == "failed"


def test_s3_what_is_no_file_is_found_and_never_waited_on(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(one.root / "blobs" / ("sha256-" + "a" * 64))
    monkeypatch.chdir(one.root / "blobs")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sha256-" + "b" * 64)
        report = verified(one)
    assert codes(report) == ["STORE-UNEXPECTED-FILE"] * 2
    assert hash_file(one.root / "blobs" / ("sha256-" + "a" * 64)).error


def test_s3_an_unreferenced_blob_is_hashed_and_named(one: Any, model: Callable[..., Any]) -> None:
    stray = model("other:1", b"stray")
    one._file(one.blob(stray.weights), b"stray")
    report = verified(one)
    assert codes(report) == ["STORE-UNREFERENCED-BLOB"]
    assert report.verdict == "failed"
    one.rewrite(one.blob(stray.weights), b"STRAY")
    assert sorted(codes(verified(one))) == ["STORE-DIGEST-MISMATCH", "STORE-UNREFERENCED-BLOB"]


def test_s3_an_approved_models_early_blob_does_not_fail_the_store(one: Any, model: Callable[..., Any]) -> None:
    coming = model("other:1", b"coming")
    one._file(one.blob(coming.weights), b"coming")
    approvals = approvals_from_entries([one.models[0].entry(), coming.entry()])
    report = verify(one.store, approvals, allow_absent=True)
    assert codes(report) == ["STORE-UNREFERENCED-BLOB"]
    assert report.verdict == "passed"


def test_s3_a_model_without_approval_is_found(one: Any) -> None:
    report = verify(one.store, {})
    assert codes(report) == ["STORE-UNAPPROVED-MODEL"]
    assert statuses(report)["store-models-approved"] == "failed"
    assert not report.models[0].verified


def test_s3_an_edited_manifest_is_found(one: Any) -> None:
    made = one.models[0]
    one.rewrite(one.manifest(made), made.manifest + b"\n")
    assert codes(verified(one)) == ["STORE-MANIFEST-MISMATCH"]


def test_s3_a_manifest_with_a_path_in_it_is_found_and_not_followed(one: Any) -> None:
    made = one.models[0]
    one.rewrite(one.manifest(made), made.manifest.replace(made.weights.encode(), b"../../../../etc/shadow"))
    report = verified(one)
    assert {"STORE-MANIFEST-INVALID", "STORE-MANIFEST-MISMATCH"} <= set(codes(report))
    assert "STORE-UNREFERENCED-BLOB" in codes(report)
    assert not report.models[0].verified


def test_s3_an_approved_model_that_is_absent_is_found_unless_allowed(one: Any, model: Callable[..., Any]) -> None:
    approvals = approvals_from_entries([one.models[0].entry(), model("other:1", b"x").entry()])
    assert codes(verify(one.store, approvals)) == ["STORE-MODEL-ABSENT"]
    assert codes(verify(one.store, approvals, allow_absent=True)) == []


def test_s1_a_cloud_stub_is_found(maker: Any, model: Callable[..., Any]) -> None:
    maker.put(model("gpt:20b", b"w", config={"remote_host": "https://ollama.com:443", "remote_model": "gpt"}))
    report = verified(maker)
    assert codes(report) == ["STORE-CLOUD-STUB"]
    assert statuses(report)["store-no-cloud-stub"] == "failed"


def test_s3_two_manifests_whose_names_differ_by_case_are_found(one: Any) -> None:
    made = one.models[0]
    one._file(one.root / "manifests/registry.ollama.ai/library/Mistral/7b", made.manifest)
    assert codes(verified(one)) == ["STORE-MANIFEST-INVALID"]


@pytest.mark.parametrize("bad", ["MISTRAL", "mistral"])
def test_s3_of_two_names_that_differ_by_case_the_one_as_approved_is_good(
    maker: Any, model: Callable[..., Any], bad: str
) -> None:
    """Whichever sorts first: the approval's spelling decides, not the alphabet."""
    good = "mistral" if bad == "MISTRAL" else "MISTRAL"
    made = maker.put(model(good + ":7b", b"weights"))
    maker._file(maker.root / "manifests/registry.ollama.ai/library" / bad / "7b", made.manifest)
    report = verified(maker)
    assert [(finding.code, finding.subject) for finding in report.findings] == [
        ("STORE-MANIFEST-INVALID", "manifests/registry.ollama.ai/library/{0}/7b".format(bad))
    ]
    assert {item.name.rpartition("/")[2]: item.verified for item in report.models} == {
        good + ":7b": True,
        bad + ":7b": False,
    }


def test_s3_a_blob_shared_by_models_that_declare_it_differently_is_told_for_each(
    maker: Any, model: Callable[..., Any]
) -> None:
    shared = b"s" * 1234
    for number in (1, 2):
        made = maker.put(model("m{0}:1".format(number), b"%d" % number, shared))
        maker.rewrite(maker.manifest(made), made.manifest.replace(b"1234", b"123%d" % number))
    report = verified(maker)
    assert codes(report).count("STORE-SIZE-MISMATCH") == 2


def test_s3_thousands_of_stray_files_give_a_bounded_report(one: Any) -> None:
    for number in range(3000):
        (one.root / "blobs" / "stray{0}".format(number)).touch()
    report = verified(one)
    assert len(report.findings) == store_module.FINDINGS_PER_CODE + 1
    assert "2950 more" in report.findings[-1].evidence


def test_s3_a_file_that_changes_while_it_is_read_is_found(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = one.blob(one.models[0].weights)
    whole = hashing.hash_descriptor

    def meddle(descriptor: int, *options: Any) -> tuple[str, int]:
        result = whole(descriptor, *options)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            one.rewrite(path, path.read_bytes())
        return result

    monkeypatch.setattr(hashing, "hash_descriptor", meddle)
    report = verified(one)
    assert codes(report) == ["STORE-CHANGED"]
    assert not report.models[0].verified


def test_s3_a_read_error_is_a_finding_and_no_traceback(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int, *_options: Any) -> tuple[str, int]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashing, "hash_descriptor", broken)
    report = verified(one)
    assert set(codes(report)) == {"STORE-READ-ERROR"}
    assert statuses(report)["store-blobs-verified"] == "failed"


def test_s3_the_report_is_the_same_whatever_thread_was_first(maker: Any, model: Callable[..., Any]) -> None:
    for number in range(12):
        made = maker.put(model("m{0}:1".format(number), os.urandom(50_000)))
        maker.rewrite(maker.blob(made.weights), b"bad")
    assert verified(maker, workers=1).as_result() == verified(maker, workers=8).as_result()


def test_s3_memory_stays_bounded_whatever_the_size(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        path = tmp_path / str(number)
        with path.open("wb") as stream:
            stream.truncate(64 * 1024 * 1024)
        paths.append(path)
    tracemalloc.start()
    results = list(hash_files(paths, workers=2))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len({result.digest for result in results}) == 1
    assert peak < 4 * 1024 * 1024
