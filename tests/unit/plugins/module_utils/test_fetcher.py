# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S2, I2: the fetcher as its image runs it: a job in, files in quarantine and one line out."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import CDN, Loopback

from ansible_collections.rampart.ollama.plugins.module_utils import pieces, progress
from ansible_collections.rampart.ollama.plugins.module_utils.fetcher import Job, answer_of, fetch
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.registry import Limits

pytestmark = pytest.mark.row("S2")
HOME = Path(__file__).parents[4]
CONTEXT = HOME / "roles/model_store/files/image-fetcher"
QUICK = Limits(operation_seconds=5, total_seconds=30, attempts=2, retry_seconds=0.01)


def job_for(internet: Any, made: Any, directory: Path, **changes: Any) -> Job:
    directory.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "host": "registry.ollama.ai",
        "repository": "library/test",
        "tag": "1",
        "digest": made.digest,
        "blobs": {digest: len(data) for digest, data in made.blobs.items()},
        "hosts": ("cdn.example.org",),
        "proxy_socket": str(internet.socket_path),
        "directory": str(directory),
        "ca_bundle": str(internet.ca_path),
        "limits": QUICK,
    }
    return Job(**{**values, **changes})


def run(package: Path, job: str) -> tuple[int, dict[str, Any], str]:
    environment = {"RAMPART_JOB": job, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "rampart_fetcher"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, answer_of(done.stdout), done.stderr


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_images_list_of_files_is_closed_under_their_imports() -> None:
    files = set(yaml.safe_load((CONTEXT / "context.yml").read_text())["files"])
    for name in files:
        tree = ast.parse((HOME / "plugins/module_utils" / name).read_text())
        needed = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
        assert {"{0}.py".format(module) for module in needed} <= files, name


def test_the_fetchers_files_need_the_standard_library_only() -> None:
    for name in yaml.safe_load((CONTEXT / "context.yml").read_text())["files"]:
        tree = ast.parse((HOME / "plugins/module_utils" / name).read_text())
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert all(module.split(".")[0] in sys.stdlib_module_names for module in modules), (name, modules)


def test_s2_the_program_brings_the_files_and_says_so(
    internet: Any, model: Callable[..., Any], tmp_path: Path, fetcher_package: Path
) -> None:
    made = model("test:1", os.urandom(300_000), b"license", b"")
    internet.add(made)
    directory = tmp_path / "quarantine"
    status, answer, _log = run(fetcher_package, job_for(internet, made, directory).as_json())
    assert (status, answer) == (0, {"ok": True, "bytes": sum(map(len, made.blobs.values())), "blobs": 4, "cuts": 0})
    assert names(directory) == {"manifest"} | {digest.replace(":", "-") for digest in made.blobs}
    for digest, data in made.blobs.items():
        assert (directory / digest.replace(":", "-")).read_bytes() == data
    assert (directory / "manifest").read_bytes() == made.manifest


def test_s2_the_program_says_its_finding_and_ends_with_1(
    internet: Any, model: Callable[..., Any], tmp_path: Path, fetcher_package: Path
) -> None:
    made = model("test:1", b"w" * 1000)
    internet.add(made)
    internet.blobs[made.weights] = b"v" * 1000
    directory = tmp_path / "quarantine"
    status, answer, log = run(fetcher_package, job_for(internet, made, directory).as_json())
    assert status == 1
    assert answer["finding"]["code"] == "FETCH-DIGEST-MISMATCH"
    assert "Traceback" not in log
    assert made.weights.replace(":", "-") not in names(directory)


@pytest.mark.parametrize(
    "job", ["", "{}", "[]", "x", '{"version": 1}', '{"version": 1, "hosts": 5, "limits": {}}', "[" * 50_000]
)
def test_s2_a_job_that_cannot_be_understood_is_one_answer(fetcher_package: Path, job: str) -> None:
    status, answer, log = run(fetcher_package, job)
    assert status == 2
    assert answer["finding"]["code"] == "FETCH-JOB"
    assert "Traceback" not in log


def test_s2_a_moved_tag_is_refused_before_any_blob(internet: Any, model: Callable[..., Any], tmp_path: Path) -> None:
    made = model("test:1", b"approved")
    internet.add(model("test:1", b"something else"))
    with pytest.raises(FindingError, match=r"^FETCH-DIGEST-MISMATCH: ") as caught:
        fetch(job_for(internet, made, tmp_path / "q"))
    assert "review the new version" in caught.value.finding.remedy
    assert all("/blobs/" not in path for _host, path, _headers in internet.requests)


@pytest.mark.parametrize("kind", ["names", "duplicate", "huge", "lie", "size", "short"])
def test_s2_a_manifest_that_lies_is_refused_before_any_blob(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    made = model("test:1", b"w" * 1000)
    serve(registry, made)
    registry.misbehave(manifests={"library/test:1": {"kind": kind, "bytes": 100}})
    with pytest.raises(FindingError, match=r"^FETCH-DIGEST-MISMATCH: "):
        fetch(job_for(registry, made, tmp_path / "q"))
    assert names(tmp_path / "q") == set()
    assert all("/blobs/" not in line["path"] for line in registry.requests())


@pytest.mark.parametrize(("kind", "code"), [("endless", "FETCH-TOO-LARGE"), ("loop", "FETCH-REDIRECT-REFUSED")])
def test_s2_a_manifest_without_an_end_is_refused(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path, kind: str, code: str
) -> None:
    made = model("test:1", b"w")
    serve(registry, made)
    registry.misbehave(manifests={"library/test:1": {"kind": kind}})
    with pytest.raises(FindingError, match="^" + code):
        fetch(job_for(registry, made, tmp_path / "q"))


def test_s2_the_next_run_continues_where_a_cut_one_ended(
    internet: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("test:1", os.urandom(500_000))
    internet.add(made)
    cut = 0

    def cutting(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        nonlocal cut
        answer = internet.honest(host, path, headers)
        if host != "cdn.example.org" or made.weights not in path:
            return answer
        cut += 1
        return (*answer, 200_000) if cut == 1 else (503, {}, b"")

    internet.answer = cutting
    job = job_for(internet, made, tmp_path / "q")
    with pytest.raises(FindingError, match=r"^FETCH-UNREACHABLE: "):
        fetch(job)
    part = tmp_path / "q" / (made.weights.replace(":", "-") + ".part")
    assert part.stat().st_size == 200_000
    internet.answer = internet.honest
    counts = fetch(job)
    assert counts["bytes"] == 300_000
    assert internet.requests[-1][2]["Range"] == "bytes=200000-"


def test_s2_what_an_earlier_run_left_complete_is_not_fetched_again(
    internet: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("test:1", os.urandom(5000))
    internet.add(made)
    job = job_for(internet, made, tmp_path / "q")
    fetch(job)
    internet.requests.clear()
    assert fetch(job)["bytes"] == 0
    assert [path for _host, path, _headers in internet.requests] == ["/v2/library/test/manifests/1"]


@pytest.mark.parametrize("left", ["longer", "wrong", "link", "directory"])
def test_s2_what_an_earlier_run_left_wrong_is_fetched_anew(
    internet: Any, model: Callable[..., Any], tmp_path: Path, left: str
) -> None:
    made = model("test:1", b"w" * 1000)
    internet.add(made)
    job = job_for(internet, made, tmp_path / "q")
    part = tmp_path / "q" / (made.weights.replace(":", "-") + ".part")
    if left == "link":
        (tmp_path / "precious").write_bytes(b"precious")
        part.symlink_to(tmp_path / "precious")
    elif left == "directory":
        part.mkdir()
        with pytest.raises(FindingError, match=r"^FETCH-DISK: "):
            fetch(job)
        return
    else:
        part.write_bytes(b"w" * 1001 if left == "longer" else b"v" * 1000)
    fetch(job)
    assert (tmp_path / "q" / made.weights.replace(":", "-")).read_bytes() == b"w" * 1000
    if left == "link":
        assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Loopback]:
    """The laboratory's stand-in registry, which knows all ranges."""
    directory = tmp_path / "internet"
    directory.mkdir()
    made = Loopback(directory)
    yield made
    made.close()


def serve(registry: Loopback, made: Any) -> None:
    registry.add(made.reference, made.manifest, made.blobs)


LARGE = Limits(operation_seconds=5, total_seconds=30, attempts=2, retry_seconds=0.01, split_from=100_000)


def test_s2_large_blobs_come_in_ranges_and_small_ones_whole_and_a_few_at_once(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("test:1", os.urandom(900_000), *(os.urandom(50_000) for _number in range(8)))
    serve(registry, made)
    registry.misbehave(default={"kind": "slow", "seconds": 0.02})
    directory = tmp_path / "q"
    counts = fetch(job_for(registry, made, directory, limits=LARGE))
    assert counts == {"bytes": sum(map(len, made.blobs.values())), "blobs": 10, "cuts": 0}
    assert names(directory) == {"manifest"} | {digest.replace(":", "-") for digest in made.blobs}
    assert all((directory / digest.replace(":", "-")).read_bytes() == data for digest, data in made.blobs.items())
    asked = [line for line in registry.requests() if line["name"] == CDN]
    large = [line["range"] for line in asked if made.weights[7:] in line["path"]]
    assert len(large) == 4
    assert None not in large
    assert [line["range"] for line in asked if made.weights[7:] not in line["path"]] == [None] * 9
    assert 3 <= registry.most_open <= 6


def test_s2_one_bad_small_blob_ends_the_others_and_what_they_have_is_kept(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("test:1", b"w", *(os.urandom(50_000 + number) for number in range(6)))
    serve(registry, made)
    bad = next(digest for digest, data in made.blobs.items() if len(data) == 50_003)
    registry.misbehave(default={"kind": "slow", "seconds": 0.05}, blobs={bad: {"kind": "lie"}})
    with pytest.raises(FindingError, match=r"^FETCH-DIGEST-MISMATCH: " + bad):
        fetch(job_for(registry, made, tmp_path / "q"))
    assert not any(bad[7:] in name for name in names(tmp_path / "q"))
    registry.misbehave()
    registry.forget()
    fetch(job_for(registry, made, tmp_path / "q"))
    assert len([line for line in registry.requests() if line["name"] == CDN]) < 8


def test_s2_how_far_it_is_lies_beside_the_files_while_it_runs(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model("test:1", os.urandom(900_000), os.urandom(1000))
    serve(registry, made)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    seen: list[dict[str, int]] = []
    replace = progress._replace

    def watched(path: Path, data: bytes) -> None:
        replace(path, data)
        now = progress.read_progress(tmp_path / "q")
        assert now is not None
        seen.append(now)

    monkeypatch.setattr(progress, "_replace", watched)
    fetch(job_for(registry, made, tmp_path / "q", limits=LARGE))
    total = sum(map(len, made.blobs.values()))
    assert {now["total"] for now in seen} == {total}
    assert [now["done"] for now in seen] == sorted(now["done"] for now in seen)
    assert seen[-1]["done"] == total
    assert progress.PROGRESS_FILE not in names(tmp_path / "q")


def test_s2_a_failed_run_leaves_no_progress_behind(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("test:1", os.urandom(900_000))
    serve(registry, made)
    registry.misbehave(default={"kind": "slow", "seconds": 0.3})
    limits = Limits(operation_seconds=5, total_seconds=1.5, attempts=2, retry_seconds=0.01, split_from=100_000)
    with pytest.raises(FindingError, match=r"^FETCH-TIMEOUT: "):
        fetch(job_for(registry, made, tmp_path / "q", limits=limits))
    part = made.weights.replace(":", "-") + ".part"
    left = names(tmp_path / "q")
    assert {part, part + ".state"} <= left
    assert progress.PROGRESS_FILE not in left
    registry.misbehave()
    counts = fetch(job_for(registry, made, tmp_path / "q", limits=LARGE))
    assert counts["bytes"] < sum(map(len, made.blobs.values()))
    assert not {part, part + ".state"} & names(tmp_path / "q")


def test_s2_what_was_begun_in_ranges_is_not_continued_as_a_beginning(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path
) -> None:
    """The size from which a blob is split was raised between two runs."""
    made = model("test:1", b"w" * 5000)
    serve(registry, made)
    job = job_for(registry, made, tmp_path / "q")
    part = tmp_path / "q" / (made.weights.replace(":", "-") + ".part")
    part.write_bytes(b"\0" * 4000)
    pieces.save_state(part, made.weights, 5000, [(3000, 4000)])
    assert fetch(job)["cuts"] == 0
    assert (tmp_path / "q" / made.weights.replace(":", "-")).read_bytes() == b"w" * 5000
    assert [line["range"] for line in registry.requests() if made.weights[7:] in line["path"]] == [None, None]


@pytest.mark.parametrize("left", ["longer", "wrong", "link", "directory", "fifo"])
def test_s2_what_an_earlier_run_left_wrong_of_a_large_blob_is_fetched_anew(
    registry: Loopback, model: Callable[..., Any], tmp_path: Path, left: str
) -> None:
    made = model("test:1", b"w" * 200_000)
    serve(registry, made)
    job = job_for(registry, made, tmp_path / "q", limits=LARGE)
    part = tmp_path / "q" / (made.weights.replace(":", "-") + ".part")
    (tmp_path / "precious").write_bytes(b"precious")
    if left == "link":
        part.symlink_to(tmp_path / "precious")
    elif left == "fifo":
        os.mkfifo(part)
    elif left == "directory":
        part.mkdir()
        with pytest.raises(FindingError, match=r"^FETCH-DISK: "):
            fetch(job)
        return
    else:
        part.write_bytes(b"w" * 200_001 if left == "longer" else b"v" * 200_000)
    fetch(job)
    assert (tmp_path / "q" / made.weights.replace(":", "-")).read_bytes() == b"w" * 200_000
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("stdout", ["", "\n", "no json", "[1]", "1", "[" * 100_000])
def test_s2_an_answer_that_is_none_is_an_empty_one(stdout: str) -> None:
    assert answer_of(stdout) == {}
    assert answer_of(stdout + "\n" + json.dumps({"ok": True})) == {"ok": True}
