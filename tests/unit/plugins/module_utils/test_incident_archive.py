# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C7: evidence in one archive, collectors that cannot harm each other, and a manifest that says what is missing."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import incident_archive
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.incident_archive import Bundle, Job, Limits, Sink, preserve

pytestmark = pytest.mark.row("C7")


def good(sink: Sink) -> None:
    sink.put_json("a.json", {"seen": 1}, "by hand")


def failing(sink: Sink) -> None:
    sink.put("half.txt", b"half", "by hand")
    raise RuntimeError("the engine answers nonsense")


def dying(sink: Sink) -> None:
    sink.put("before.txt", b"before", "by hand")
    os.kill(os.getpid(), 9)


def hanging(sink: Sink) -> None:
    time.sleep(3600)


def make(directory: Path, *jobs: Job, limits: Limits | None = None) -> Bundle:
    return preserve(directory, "e1", jobs, limits or Limits(seconds=20), {"incident": "i1"})


def contents(bundle: Bundle) -> dict[str, bytes]:
    found = {}
    with tarfile.open(bundle.path) as archive:
        for member in archive.getmembers():
            assert member.isreg()
            assert member.mode == 0o600
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
    return found


def test_archive_is_whole_private_and_named_in_its_manifest(tmp_path: Path) -> None:
    bundle = make(tmp_path / "new", Job("one", good))
    files = contents(bundle)
    manifest = json.loads(files.pop("e1/manifest.json"))
    assert set(files) == {"e1/one/a.json"}
    entry = manifest["files"][0]
    assert entry["sha256"] == hashlib.sha256(files["e1/one/a.json"]).hexdigest()
    assert entry["size"] == len(files["e1/one/a.json"])
    assert (entry["file"], entry["how"], entry["error"]) == ("one/a.json", "by hand", "")
    assert manifest["incident"] == "i1"
    assert bundle.sha256 == hashlib.sha256(Path(bundle.path).read_bytes()).hexdigest()
    assert stat.S_IMODE(os.stat(bundle.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700
    assert os.listdir(tmp_path / "new") == ["e1.tar.gz"]  # no staging left behind


def test_a_collector_that_fails_dies_or_hangs_stops_no_other(tmp_path: Path) -> None:
    jobs = [Job("failing", failing), Job("dying", dying), Job("hanging", hanging, 0.3), Job("last", good)]
    bundle = make(tmp_path, *jobs)
    files = contents(bundle)
    assert {"e1/last/a.json", "e1/failing/half.txt", "e1/dying/before.txt"} <= set(files)
    errors = {item["what"]: item["error"] for item in bundle.manifest["errors"]}
    assert "RuntimeError: the engine answers nonsense" in errors["failing/"] + str(errors)
    assert "killed by signal 9" in errors["dying"]
    assert "stopped after 0.3 s" in errors["hanging"]
    assert {finding.code for finding in bundle.findings} == {"INCIDENT-EVIDENCE-INCOMPLETE"}
    assert "Traceback" not in json.dumps(bundle.manifest)


def test_a_program_of_a_stopped_collector_goes_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def long(sink: Sink) -> None:
        sink.command("out.txt", ["sh", "-c", f"echo $$ > {mark}; exec sleep 600"], 600)

    make(tmp_path / "d", Job("long", long, 0.5))
    pid = int(mark.read_text())
    state = Path(f"/proc/{pid}/status")
    assert not state.exists() or "\nState:\tZ" in state.read_text()


def test_a_program_that_prints_without_end_fills_its_file_and_no_more(tmp_path: Path) -> None:
    def endless(sink: Sink) -> None:
        sink.command("yes.txt", ["yes"], 10)

    bundle = make(tmp_path, Job("endless", endless), limits=Limits(file_bytes=100_000, seconds=10))
    assert len(contents(bundle)["e1/endless/yes.txt"]) == 100_000
    assert bundle.findings


def test_of_a_long_file_the_end_is_kept_and_the_whole_is_hashed(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"old\n" * 50_000 + b"new\n")

    def copying(sink: Sink) -> None:
        sink.copy("audit", str(log))

    bundle = make(tmp_path / "d", Job("files", copying), limits=Limits(file_bytes=1000, seconds=10))
    data = contents(bundle)["e1/files/audit"]
    assert data == log.read_bytes()[-1000:]
    entry = bundle.manifest["files"][0]
    assert entry["source_sha256"] == hashlib.sha256(log.read_bytes()).hexdigest()
    assert entry["truncated_from"] == log.stat().st_size


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "missing"])
def test_nothing_but_a_regular_file_is_copied(tmp_path: Path, kind: str) -> None:
    secret, bait = tmp_path / "shadow", tmp_path / "bait"
    secret.write_text("root:secret")
    if kind == "link":
        bait.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(bait)
    elif kind == "directory":
        bait.mkdir()

    def copying(sink: Sink) -> None:
        sink.copy("bait", str(bait))

    bundle = make(tmp_path / "d", Job("files", copying), limits=Limits(seconds=10))
    assert "root:secret" not in str(contents(bundle))
    assert [finding.subject for finding in bundle.findings] == ["files/bait"]


def test_files_over_the_total_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    def large(sink: Sink) -> None:
        sink.put("large.bin", os.urandom(5000), "by hand")

    bundle = make(tmp_path, Job("large", large), Job("small", good), limits=Limits(total_bytes=1000, seconds=10))
    assert set(contents(bundle)) == {"e1/small/a.json", "e1/manifest.json"}
    assert "over the limit" in bundle.findings[0].evidence


def test_a_program_that_is_not_there_leaves_an_entry_and_no_file(tmp_path: Path) -> None:
    bundle = make(tmp_path, Job("x", lambda sink: sink.command("x.txt", ["no-such-program-here"])))
    assert set(contents(bundle)) == {"e1/manifest.json"}
    assert "not run" in bundle.findings[0].evidence


def test_an_archive_is_never_replaced(tmp_path: Path) -> None:
    first = make(tmp_path, Job("one", good))
    with pytest.raises(FindingError) as refused:
        make(tmp_path, Job("one", good))
    assert refused.value.finding.code == "INCIDENT-ARCHIVE-WRITE"
    assert hashlib.sha256(Path(first.path).read_bytes()).hexdigest() == first.sha256


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(incident_archive.os, "link", full)
    with pytest.raises(FindingError) as refused:
        make(tmp_path, Job("one", good))
    assert "No space left" in refused.value.finding.evidence
    assert os.listdir(tmp_path) == []
