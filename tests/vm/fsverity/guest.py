# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3 on a kernel with fs-verity: runs in the virtual machine that run.py boots, and prints one line for each claim.

The first disk has the verity feature, the second has not. What is wrong ends the run with a traceback on the console.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, "/")

from rampart_vm import fsverity
from rampart_vm.approval import Approval, approvals_from_entries
from rampart_vm.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from rampart_vm.publish import Publication, publish
from rampart_vm.record import load
from rampart_vm.store import ModelStore
from rampart_vm.verify_report import VerifyReport
from rampart_vm.verify_run import Question, answer

FIBMAP = 1
BLOCK = 4096
STATE = Path("/run/state")
RECORD = STATE / "store-record.json"
DICE = random.Random(7)


def claim(text: str, holds: bool, detail: object = "") -> None:
    """Print a claim and whether it was seen to hold; run.py counts them."""
    print(
        "CLAIM {0} {1}{2}".format("ok" if holds else "FAILED", text, " ({0})".format(detail) if detail else ""),
        flush=True,
    )


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def kernels_digest(data: bytes) -> str:
    """Compute what FS_IOC_MEASURE_VERITY must answer for these bytes: sha256 of a descriptor with the tree's root."""

    def blocks(content: bytes) -> list[bytes]:
        return [content[start : start + BLOCK].ljust(BLOCK, b"\0") for start in range(0, len(content), BLOCK)]

    level = blocks(data)
    while len(level) > 1:
        level = blocks(b"".join(hashlib.sha256(block).digest() for block in level))
    root = hashlib.sha256(level[0]).digest()
    descriptor = struct.pack("<BBBBIQ64s32s144s", 1, 1, 12, 0, 0, len(data), root, b"", b"")
    return digest_of(descriptor)


class Model:
    """A model of 8 MiB of weights and two small blobs."""

    def __init__(self, reference: str) -> None:
        self.weights = DICE.randbytes(8 * 1024 * 1024 + 1000)
        config, text = (
            json.dumps({"model_format": "gguf", "about": reference}).encode(),
            b"license of " + reference.encode(),
        )
        kinds = [(config, CONFIG_TYPE), (self.weights, LAYER_PREFIX + "model"), (text, LAYER_PREFIX + "license")]
        described = [{"mediaType": kind, "digest": digest_of(data), "size": len(data)} for data, kind in kinds]
        body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described[0], "layers": described[1:]}
        self.manifest = json.dumps(body).encode()
        self.blobs = {digest_of(data): data for data, _kind in kinds}
        entry = {"reference": reference, "digest": digest_of(self.manifest), "blobs": described}
        self.approvals: dict[str, Approval] = approvals_from_entries([entry])

    def publish(self, store: ModelStore) -> None:
        sources = {}
        for digest, data in self.blobs.items():
            sources[digest] = Path("/run") / digest
            sources[digest].write_bytes(data)
        (approval,) = self.approvals.values()
        publish(store, Publication(approval, self.manifest, sources))
        for path in sources.values():
            path.unlink()


def mount(device: str, target: str) -> ModelStore:
    Path(target).mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", device, target], check=True)
    root = Path(target) / "store"
    root.mkdir(mode=0o755, exist_ok=True)
    return ModelStore(root)


def refusal(action: Callable[[], Any]) -> int:
    """Return the errno an action ends with, 0 when it succeeds."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def codes(report: VerifyReport) -> list[str]:
    return [finding.code for finding in report.findings]


def verity_disk() -> None:
    store, made = mount("/dev/vda", "/verity"), Model("sealed:1")
    made.publish(store)
    paths = {digest: store.blob_path(digest) for digest in made.blobs}
    measured = {digest: fsverity.measure_file(path) for digest, path in paths.items()}
    claim("the publisher seals every blob", all(item and item.digest for item in measured.values()))
    same = all(item and item.digest == kernels_digest(made.blobs[digest]) for digest, item in measured.items())
    claim("the kernel's digest is that of the published bytes, computed here anew", same)
    weights = paths[digest_of(made.weights)]
    number = refusal(lambda: os.close(os.open(weights, os.O_RDWR)))
    claim("root cannot open a sealed blob for writing", number == errno.EPERM, os.strerror(number))
    time.sleep(0.3)
    report, recorded = answer(store, Question(made.approvals, record=RECORD))
    claim("a full verification hashes sealed blobs", report.bytes_hashed == sum(map(len, made.blobs.values())))
    claim("and passes without a finding", codes(report) == [], codes(report))
    seals = {digest: reading.verity for digest, reading in load(RECORD, 0).readings.items()}
    claim("the record holds the kernel's digests", recorded == 3 and all(seals.values()))
    os.utime(weights)
    report, _count = answer(store, Question(made.approvals, "changed", RECORD))
    claim("mode changed trusts the kernel, not the times", (report.not_reread, report.bytes_hashed) == (3, 0))
    tamper(store, made, weights)
    # The same bytes in a file that is not sealed: the kernel answers for nothing any more.
    copy = store.path("copy")
    copy.write_bytes(made.weights)
    copy.chmod(0o444)
    copy.rename(weights)
    report, _count = answer(store, Question(made.approvals, "changed", RECORD))
    claim("an unsealed copy is read again", report.bytes_hashed == len(made.weights) and report.verdict == "passed")
    answer(store, Question(made.approvals, record=RECORD))


def tamper(store: ModelStore, made: Model, weights: Path) -> None:
    """Flip one bit on the disk beneath the file system, and see who notices."""
    place = DICE.randrange(len(made.weights) - BLOCK)
    first = place // BLOCK * BLOCK
    with weights.open("rb") as stream:
        block = struct.unpack("i", fcntl.ioctl(stream.fileno(), FIBMAP, struct.pack("i", place // BLOCK)))[0]
    status = weights.stat()
    subprocess.run(["umount", "/verity"], check=True)
    flip("/dev/vda", block * BLOCK + place % BLOCK)
    mount("/dev/vda", "/verity")
    after = weights.stat()
    unchanged = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    claim("a bit flipped on the raw disk leaves inode and times alone", unchanged)
    descriptor = os.open(weights, os.O_RDONLY)
    number = refusal(lambda: os.pread(descriptor, 1, place))
    os.close(descriptor)
    claim("the kernel refuses the block", number == errno.EIO, os.strerror(number))
    report, _count = answer(store, Question(made.approvals, record=RECORD))
    (finding,) = [item for item in report.findings if item.code == "STORE-READ-ERROR"]
    where = "at byte {0} of {1}; the file is sealed (fs-verity)".format(first, len(made.weights))
    claim("a full verification tells the block's first byte", where in finding.evidence, finding.evidence)
    claim("and the model is not verified", report.verdict == "failed" and not report.models[0].verified)
    claim("and its reading is withdrawn", digest_of(made.weights) not in load(RECORD, 0).readings)
    report, _count = answer(store, Question(made.approvals, "changed", RECORD))
    claim("so that mode changed finds it too", "STORE-READ-ERROR" in codes(report) and report.not_reread == 2)


def flip(device: str, offset: int) -> None:
    disk = os.open(device, os.O_RDWR)
    byte = os.pread(disk, 1, offset)[0]
    os.pwrite(disk, bytes([byte ^ 4]), offset)
    os.fsync(disk)
    os.close(disk)


def plain_disk() -> None:
    store, made = mount("/dev/vdb", "/plain"), Model("plain:1")
    made.publish(store)
    path = store.blob_path(digest_of(made.weights))
    claim("without the feature it is not offered", fsverity.measure_file(path) is None)
    record = STATE / "plain-record.json"
    time.sleep(0.3)
    report, _count = answer(store, Question(made.approvals, record=record))
    claim("and publishing and verifying go on without it", codes(report) == [], codes(report))
    with path.open("rb") as stream:
        block = struct.unpack("i", fcntl.ioctl(stream.fileno(), FIBMAP, struct.pack("i", 3)))[0]
    subprocess.run(["umount", "/plain"], check=True)
    flip("/dev/vdb", block * BLOCK + 77)
    mount("/dev/vdb", "/plain")
    report, _count = answer(store, Question(made.approvals, "changed", record))
    claim("there, mode changed cannot see a raw write (documented)", report.not_reread == 3)
    report, _count = answer(store, Question(made.approvals, record=record))
    (bad,) = report.bad_blobs
    claim("mode full does, and tells the mebibyte", bad.ranges == ((0, 1024 * 1024 - 1),), bad.ranges)


if __name__ == "__main__":
    print("KERNEL " + os.uname().release, flush=True)
    STATE.mkdir(mode=0o700)
    verity_disk()
    plain_disk()
    print("END", flush=True)
