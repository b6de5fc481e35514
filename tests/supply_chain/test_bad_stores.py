# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: stores that somebody made to be trouble: each is a few findings, in bounded time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import store as store_module
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

pytestmark = pytest.mark.row("S3")

COLLECTIONS = Path(__file__).parents[2] / ".collections"
ALONE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify
report = verify(ModelStore(sys.argv[2], os.getuid(), os.getgid()), {}, allow_absent=True)
# Not ru_maxrss, which begins with what the parent had when it forked.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
codes = sorted({finding.code for finding in report.findings})
print(json.dumps([len(report.findings), codes, int(peak.split()[1]) // 1024, report.verdict]))
"""


def alone(root: Path, seconds: int = 60) -> tuple[int, list[str], int, str]:
    """Verify in a process of its own, which must end in time: (findings, their codes, peak MiB, verdict)."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(COLLECTIONS), str(root)],
        capture_output=True,
        text=True,
        check=True,
        timeout=4 * seconds,
        preexec_fn=limit,
    )
    count, codes, peak, verdict = json.loads(done.stdout)
    return count, codes, peak, verdict


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty store, in memory where that can be: 100,000 files take a minute to make on a busy disk.

    It is removed at once, by a program that does not go as deep as a tree is.
    """
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    old = os.umask(0o022)
    path = place / "store"
    (path / "blobs").mkdir(parents=True)
    (path / "manifests").mkdir()
    os.umask(old)
    yield path
    subprocess.run(["rm", "-rf", str(place)], check=True)


@pytest.mark.parametrize("name", ["blobs/stray{0}", "blobs/{0}.tmp", "manifests/stray{0}", "stray{0}"])
def test_a_hundred_thousand_stray_files(root: Path, name: str) -> None:
    for number in range(100_000):
        os.close(os.open(root / name.format(number), os.O_CREAT | os.O_WRONLY, 0o444))
    count, codes, peak, verdict = alone(root)
    assert count == store_module.FINDINGS_PER_CODE + 1
    assert codes in (["STORE-UNEXPECTED-FILE"], ["STORE-PARTIAL"])
    assert verdict == "failed"
    assert peak < 60


def test_ten_thousand_stray_files_with_names_of_blobs(root: Path) -> None:
    for number in range(10_000):
        os.close(os.open(root / "blobs" / "sha256-{0:064x}".format(number), os.O_CREAT | os.O_WRONLY, 0o444))
    count, codes, peak, verdict = alone(root)
    assert count == 2 * (store_module.FINDINGS_PER_CODE + 1)
    assert codes == ["STORE-DIGEST-MISMATCH", "STORE-UNREFERENCED-BLOB"]
    assert verdict == "failed"
    assert peak < 60


def manifest(*layers: dict[str, Any]) -> bytes:
    config = {"mediaType": CONFIG_TYPE, "digest": "sha256:" + "c" * 64, "size": 1}
    body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": list(layers)}
    return json.dumps(body).encode()


def layer(number: int, size: int = 1) -> dict[str, Any]:
    return {"mediaType": LAYER_PREFIX + "model", "digest": "sha256:{0:064x}".format(number), "size": size}


@pytest.mark.parametrize(
    "data",
    [
        manifest(*(layer(number, 1 << 46) for number in range(4096))),
        manifest(*(layer(number) for number in range(4097))),
        manifest(layer(1, (1 << 46) + 1)),
        manifest(layer(1, 10**400)),
        manifest(layer(1), layer(1)),
        manifest({**layer(1), "digest": "sha256:../../../../etc/passwd"}),
        b'{"schemaVersion":' + b"9" * 900_000 + b"}",
        b"[" * 900_000,
        b'{"a":' * 150_000,
        b" " * (1 << 20),
        b" " * ((1 << 20) + 1),
        b"\xff" * 1000,
        b"",
    ],
    ids=range(13),
)
def test_a_manifest_that_promises_too_much_or_says_nothing(root: Path, data: bytes) -> None:
    for number in range(50):
        path = root / "manifests/registry.ollama.ai/library/evil" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
    count, codes, peak, verdict = alone(root)
    assert verdict == "failed"
    assert "STORE-UNAPPROVED-MODEL" in codes
    assert set(codes) & {"STORE-MANIFEST-INVALID", "STORE-BLOB-MISSING"}
    assert count <= 3 * (store_module.FINDINGS_PER_CODE + 1)
    # Fifty manifests of 4096 layers are held at once while they are judged.
    assert peak < 300


def test_directories_that_never_end(root: Path) -> None:
    descriptor = os.open(root / "manifests", os.O_RDONLY)
    for _depth in range(2000):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    count, codes, _peak, _verdict = alone(root)
    assert (count, codes) == (1, ["STORE-UNEXPECTED-FILE"])


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nSTORE-OK: fine", b"\x1b[2J", b"x" * 255, b"..."])
def test_names_made_for_terminals_and_logs(root: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(root), b"blobs", name), "wb"):
        pass
    report = verify(store_module.ModelStore(root, os.getuid(), os.getgid()), {}, allow_absent=True)
    (finding,) = report.findings
    assert finding.code == "STORE-UNEXPECTED-FILE"
    assert finding.as_text().isprintable()
    json.dumps(report.as_result()).encode("utf-8")


def test_a_store_that_is_written_all_the_while_is_never_called_good_by_mistake(twenty: Any) -> None:
    """Blobs are rewritten, replaced and removed under the verification's hands: no traceback, and no pass for them."""
    digests = sorted(twenty.blobs)[:5]
    stop = threading.Event()

    def write() -> None:
        dice = twenty.dice
        while not stop.is_set():
            path = twenty.store.blob_path(dice.choice(digests))
            twenty.write(path, dice.randbytes(dice.randrange(1, 300_000)))
            other = path.parent.parent / ".publishing"
            other.write_bytes(b"x")
            other.chmod(0o444)
            other.rename(path)
            if dice.randrange(3) == 0:
                path.unlink()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reports = [verify(twenty.store, twenty.approvals) for _round in range(50)]
    finally:
        stop.set()
        writer.join()
    users = {name for digest in digests for name in twenty.users(digest)}
    for report in reports:
        assert {model.name for model in report.models if not model.verified} <= users
    assert any(report.verdict == "failed" for report in reports)
    for digest in digests:
        twenty.write(twenty.store.blob_path(digest), twenty.blobs[digest])
    assert verify(twenty.store, twenty.approvals).findings == []
