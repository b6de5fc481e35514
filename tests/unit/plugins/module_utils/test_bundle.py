# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a bundle is always the same bytes, any tar program reads it, and nothing that only looks like one is read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import bundle, copying, tarball
from ansible_collections.rampart.ollama.plugins.module_utils.approval import Approval, approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError

pytestmark = pytest.mark.row("S2")
TEXT = "- name: test  # approved on a Friday\n"
Members = list[tuple[str, bytes]]


@pytest.fixture
def made(model: Callable[..., Any]) -> Any:
    return model("test:1", b"weights" * 1000, b"license", b"")


def approval_of(made: Any) -> Approval:
    return approval_from_entry(made.entry())


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("blob")
    os.write(descriptor, data)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write(made: Any, extras: dict[str, str] | None = None) -> bytes:
    wanted = bundle.contents(approval_of(made), made.manifest, TEXT, extras or {})
    out = io.BytesIO()
    digest = bundle.write_bundle(wanted, lambda digest: opened(made.blobs[digest]), out.write)
    assert digest == "sha256:" + hashlib.sha256(out.getvalue()).hexdigest()
    assert len(out.getvalue()) == wanted.size
    return out.getvalue()


def read(made: Any, data: bytes) -> tuple[bytes, dict[str, bytes]]:
    descriptor = os.memfd_create("bundle")
    try:
        os.write(descriptor, data)
        manifest, places = bundle.read_bundle(descriptor, "the bundle", approval_of(made))
        return manifest, {digest: os.pread(descriptor, at.size, at.offset) for digest, at in places.items()}
    finally:
        os.close(descriptor)


def refused(made: Any, data: bytes) -> str:
    with pytest.raises(FindingError) as caught:
        read(made, data)
    assert caught.value.finding.remedy
    return caught.value.finding.code


def split(data: bytes) -> Members:
    """Return the members of a bundle by another reader of tars."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = []
        for item in archive:
            stream = archive.extractfile(item)
            assert stream is not None
            found.append((item.name, stream.read()))
        return found


def join(members: Members) -> bytes:
    parts = [tarball.header(name, len(data)) + data + bytes(tarball.padding(len(data))) for name, data in members]
    return b"".join(parts) + tarball.END


def test_s2_what_goes_in_comes_out(made: Any) -> None:
    data = write(made, {"approval.sig": "signature", "statement.dsse.json": "{}"})
    assert read(made, data) == (made.manifest, made.blobs)


def test_s2_the_same_content_is_the_same_bytes(made: Any) -> None:
    assert write(made, {"a": "1", "b": "2"}) == write(made, {"b": "2", "a": "1"})
    assert join(split(write(made))) == write(made)


def test_s2_it_is_an_oci_image_layout_that_tar_reads(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar"
    path.write_bytes(write(made, {"approval.sig": "signature"}))
    done = subprocess.run(["tar", "-tvf", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    listed = [line.split() for line in done.stdout.splitlines()]
    assert {line[0] for line in listed} == {"-rw-r--r--"}
    names = [line[-1] for line in listed]
    assert names[:4] == ["oci-layout", "index.json", "rampart/approval.yaml", "rampart/approval.sig"]
    assert names[5:] == sorted(names[5:])
    members = dict(split(path.read_bytes()))
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(members["index.json"]) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "digest": made.digest,
                "size": len(made.manifest),
                "annotations": {"org.opencontainers.image.ref.name": "registry.ollama.ai/library/test:1"},
            }
        ],
    }
    assert members["rampart/approval.yaml"].decode() == TEXT
    for name, data in members.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 1 << 40, 1 << 46])
def test_s2_headers_of_any_size_are_what_others_understand(size: int) -> None:
    item = tarfile.TarInfo.frombuf(tarball.header("blobs/sha256/" + "a" * 64, size), "ascii", "strict")
    assert (item.size, item.mode, item.uid, item.mtime, item.isreg()) == (size, 0o644, 0, 0, True)


def test_s2_filling_up_to_a_record_is_no_harm(made: Any) -> None:
    data = write(made)
    assert read(made, data + bytes(10240 - len(data) % 10240))[0] == made.manifest


def other(**changes: Any) -> Callable[[bytes], bytes]:
    """Return a changer of the first header: fields by tarfile's names, its checksum made right again."""

    def change(data: bytes) -> bytes:
        item = tarfile.TarInfo.frombuf(data[:512], "ascii", "strict")
        for name, value in changes.items():
            setattr(item, name, value)
        return item.tobuf(tarfile.USTAR_FORMAT) + data[512:]

    return change


def with_members(change: Callable[[Members], Any]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        members = split(data)
        return join(change(members) or members)

    return apply


def renamed(name: str) -> Callable[[bytes], bytes]:
    return with_members(lambda members: [(name, members[0][1]), *members[1:]])


def index(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def apply(members: Members) -> Members:
        document = json.loads(members[1][1])
        change(document)
        return [members[0], ("index.json", json.dumps(document).encode()), *members[2:]]

    return with_members(apply)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\0" * 100,
        lambda data: b"no tar" * 1000,
        lambda data: data[:100],
        lambda data: data[:512],
        lambda data: data[:-1024],
        lambda data: data[:-512],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data + b"\0" * 20_000,
        lambda data: data[:-1024] + b"\0" * 512 + b"x" * 512,
        lambda data: data[:148] + b"0000000\0" + data[156:],
        lambda data: data[:257] + b"ustar  \0" + data[265:],
        lambda data: data[:345] + b"etc" + data[348:],
        other(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        other(type=tarfile.LNKTYPE, linkname="index.json"),
        other(linkname="index.json"),
        other(type=tarfile.DIRTYPE),
        other(type=tarfile.CHRTYPE),
        other(type=tarfile.BLKTYPE),
        other(type=tarfile.FIFOTYPE),
        other(type=tarfile.CONTTYPE),
        other(type=tarfile.XHDTYPE),
        other(type=tarfile.XGLTYPE),
        other(type=tarfile.GNUTYPE_LONGNAME),
        other(type=tarfile.GNUTYPE_LONGLINK),
        other(type=tarfile.GNUTYPE_SPARSE),
        other(type=b"\0"),
        other(size=10**9),
        other(size=8**11 - 1),
        lambda data: data[:124] + b"\x80" + b"\xff" * 11 + data[136:],
        lambda data: data[:124] + b"\xff" * 12 + data[136:],
        lambda data: data[:124] + b"-0000000001\0" + data[136:],
        renamed("/oci-layout"),
        renamed("../oci-layout"),
        renamed("rampart/../../etc/passwd"),
        renamed("rampart/sub/file"),
        renamed("rampart/.hidden"),
        renamed("rampart/" + "x" * 65),
        renamed("./oci-layout"),
        renamed("oci-layout/"),
        renamed("OCI-LAYOUT"),
        renamed("blobs/sha256/" + "0" * 64),
        renamed("blobs/sha512/" + "0" * 64),
        renamed("blobs/sha256/" + "A" * 64),
        renamed("oci\nlayout"),
        with_members(lambda members: [members[0], *members]),
        with_members(lambda members: [*members, members[-1]]),
        with_members(lambda members: members[1:]),
        with_members(lambda members: [members[0], *members[2:]]),
        with_members(lambda members: members[:-1]),
        with_members(lambda members: [("oci-layout", b"{}"), *members[1:]]),
        with_members(lambda members: [("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), *members[1:]]),
        with_members(lambda members: [("oci-layout", b"[" * 100_000), *members[1:]]),
        with_members(lambda members: [("oci-layout", b"\xff"), *members[1:]]),
        with_members(lambda members: [*members, ("rampart/big", b"x" * (256 * 1024 + 1))]),
        with_members(lambda members: [*members, *((f"rampart/f{number}", b"") for number in range(5000))]),
        index(lambda document: document["manifests"].append(document["manifests"][0])),
        index(lambda document: document["manifests"].clear()),
        index(lambda document: document.update(manifests=[5])),
        index(lambda document: document.update(manifests={"digest": "x"})),
    ],
)
def test_s2_what_is_no_bundle_is_refused(made: Any, damage: Callable[[bytes], bytes]) -> None:
    data = damage(write(made))
    if data[:512] and data[148:156] != b"0000000\0" and len(data) >= 512:
        # Whatever else is wrong, the checksum is right: it is not what protects.
        blank = data[:148] + b" " * 8 + data[156:512]
        data = data[:148] + b"%06o\0 " % sum(blank) + data[156:]
    assert refused(made, data) == "BUNDLE-INVALID"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: data.index(b"llll") + 100], "ends within blobs/sha256/"),
        (lambda data: data[:124] + b"-0000000001\0" + data[136:], "the size of oci-layout is none"),
        (lambda data: data[:124] + b"\x80" + b"\xff" * 11 + data[136:], "the size of oci-layout is none"),
    ],
)
def test_s2_where_it_is_broken_is_said(
    made: Any, model: Callable[..., Any], damage: Callable[[bytes], bytes], words: str
) -> None:
    made = model("test:1", b"w", b"l" * 5000)
    data = damage(write(made))
    data = data[:148] + b"%06o\0 " % sum(data[:148] + b" " * 8 + data[156:512]) + data[156:]
    with pytest.raises(FindingError, match=words):
        read(made, data)


@pytest.mark.parametrize(
    "damage",
    [
        index(lambda document: document["manifests"][0].update(digest="sha256:" + "0" * 64)),
        index(lambda document: document["manifests"][0].update(size=1)),
        index(lambda document: document["manifests"][0].update(mediaType="application/json")),
        index(lambda document: document["manifests"][0].update(annotations=None)),
        index(lambda document: document["manifests"][0].update(annotations={})),
        index(
            lambda document: document["manifests"][0].update(
                annotations={"org.opencontainers.image.ref.name": "registry.ollama.ai/library/other:1"}
            )
        ),
        with_members(lambda members: [item for item in members if b'"layers"' not in item[1]]),
    ],
)
def test_s2_another_models_bundle_is_refused(made: Any, damage: Callable[[bytes], bytes]) -> None:
    assert refused(made, damage(write(made))) == "IMPORT-DIGEST-MISMATCH"


def test_s2_a_bundle_of_another_version_is_refused(made: Any, model: Callable[..., Any]) -> None:
    assert refused(made, write(model("test:1", b"something else"))) == "BUNDLE-INVALID"
    assert refused(made, write(model("test:1", b"weights" * 1000, b"license"))) in (
        "BUNDLE-INVALID",
        "IMPORT-DIGEST-MISMATCH",
    )


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_s2_a_blob_of_another_size_is_refused(made: Any, change: Callable[[bytes], bytes]) -> None:
    name = bundle.blob_name(made.weights)
    data = join([(item, change(data) if item == name else data) for item, data in split(write(made))])
    assert refused(made, data) == "IMPORT-SIZE-MISMATCH"


@pytest.mark.parametrize("seed", range(4))
def test_s2_whatever_the_bytes_it_is_refused_or_read_and_never_more(made: Any, seed: int) -> None:
    dice = random.Random(seed)
    good = write(made, {"sig": "s"})
    for _round in range(400):
        data = bytearray(good)
        for _change in range(dice.randrange(1, 4)):
            at = dice.randrange(len(data))
            kind = dice.randrange(4)
            if kind == 0:
                data[at] = dice.randrange(256)
            elif kind == 1:
                del data[at : at + dice.choice((1, 512, 5000))]
            elif kind == 2:
                data[at:at] = dice.randbytes(dice.choice((1, 512)))
            else:
                data[at : at + 512] = good[dice.randrange(0, len(good) // 512) * 512 :][:512]
            if not data:
                break
        try:
            manifest, blobs = read(made, bytes(data))
        except FindingError as error:
            assert error.finding.code in ("BUNDLE-INVALID", "IMPORT-DIGEST-MISMATCH", "IMPORT-SIZE-MISMATCH")
        else:
            assert {digest: len(blob) for digest, blob in blobs.items()} == {
                digest: len(blob) for digest, blob in made.blobs.items()
            }
            assert len(manifest) <= 1 << 20


def test_s2_a_large_model_passes_in_small_pieces(model: Callable[..., Any]) -> None:
    made = model("test:1", bytes(64 * 1024 * 1024))
    descriptor = os.memfd_create("bundle")
    try:
        tracemalloc.start()
        wanted = bundle.contents(approval_of(made), made.manifest, TEXT, {})
        bundle.write_bundle(wanted, lambda digest: opened(made.blobs[digest]), lambda data: os.write(descriptor, data))
        assert bundle.digest_of_same(descriptor, wanted)
        _manifest, places = bundle.read_bundle(descriptor, "the bundle", approval_of(made))
        at = places[made.weights]
        copying.copy_span(descriptor, at.offset, at.size, made.weights, len)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
        os.close(descriptor)


@pytest.mark.parametrize(
    "extras",
    [
        {"../x": ""},
        {"": ""},
        {".x": ""},
        {"a/b": ""},
        {"approval.yaml": "mine"},
        {"x" * 65: ""},
        {"x": "y" * (256 * 1024 + 1)},
        {str(number): "" for number in range(17)},
    ],
)
def test_s2_only_small_files_with_plain_names_go_along(made: Any, extras: dict[str, str]) -> None:
    with pytest.raises(FindingError, match=r"^BUNDLE-CONTENT: "):
        write(made, extras)
