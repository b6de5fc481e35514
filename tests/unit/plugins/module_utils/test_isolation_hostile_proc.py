# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I4: a hostile /proc: right or `unknown`, no traceback, bounded in time and memory."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcError, ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.procfs_snapshot import Snapshot

sys.path.insert(0, str(Path(__file__).parent))

from survey_rig import PROPERTIES, Rig, at_most, sound

pytestmark = pytest.mark.row("I4")
OLLAMA, GATEWAY = 200, 300


@pytest.fixture
def rig(proc: Any, inspector: Any, tmp_path: Path) -> Rig:
    return Rig(proc, inspector, tmp_path)


NUMBERS = st.sampled_from([b"0", b"1", b"-1", b"10001", b"18446744073709551616", b"9" * 5000, b"\xd9\xa1", b"1_0"])
WORDS = st.one_of(
    NUMBERS,
    st.binary(max_size=12),
    st.sampled_from(
        [b"Uid:", b"Seccomp:", b"NoNewPrivs:", b"CapEff:", b"lo:", b"-", b"net:[1]", b"0100007F:2CAA", b"0A"]
    ),
)
SEPARATORS = st.sampled_from([b" ", b"\t", b"\n", b":", b"\x0b", b"\x0c", b"\x85", b"\0", b"\r"])
PIECES = st.lists(st.tuples(WORDS, SEPARATORS), max_size=40).map(lambda items: b"".join(a + b for a, b in items))
FILES = ("status", "mountinfo", "net/tcp", "net/tcp6", "net/dev", "net/sockstat", "cgroup", "uid_map", "gid_map",
         "environ", "comm", "attr/current")  # fmt: skip


@PROPERTIES
@given(name=st.sampled_from(FILES), data=PIECES, how=st.sampled_from(["whole", "before", "after", "inside"]))
def test_any_bytes_in_a_file_of_proc_make_no_failure_a_pass(rig: Rig, name: str, data: bytes, how: str) -> None:
    """A wide open gateway whose files are garbled one at a time: nothing that failed by that file alone passes."""
    if "expected" not in vars(rig):
        rig.proc.open_up(GATEWAY)
        rig.cgroup(GATEWAY, 3)
        rig.expected = {key for key, status in rig.look()["by_id"].items() if status == "failed"}  # type: ignore[attr-defined]
    path = rig.proc.root / str(GATEWAY) / name
    original = path.read_bytes() if path.exists() else None
    base = original or b""
    half = len(base) // 2
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        {"whole": data, "before": data + base, "after": base + data, "inside": base[:half] + data + base[half:]}[how]
    )
    try:
        found = rig.look()
    finally:
        path.unlink()
        if original is not None:
            path.write_bytes(original)
    sound(found)
    passed = {key for key in rig.expected if found["by_id"][key] == "passed"}  # type: ignore[attr-defined]
    # A program's own name is what it says; that the process is the host's stays seen.
    if name == "comm":
        passed -= {"isolation-no-native-ollama"}
    assert passed == set(), (name, how, data)


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_a_process_cannot_write_lines_of_its_status_by_its_name(tmp_path: Path, proc: Any, separator: str) -> None:
    """The kernel escapes a line feed in a name and nothing else that Python would take for the end of a line."""
    proc.status(OLLAMA, comm="x" + separator + "Seccomp:\t2")
    status = proc.root / str(OLLAMA) / "status"
    status.write_bytes(b"\n".join(line for line in status.read_bytes().split(b"\n") if not line.startswith(b"Seccomp")))
    assert ProcFS(str(proc.root)).status(OLLAMA).seccomp is None


def test_of_a_variable_set_twice_the_first_counts_as_for_the_server(rig: Rig) -> None:
    rig.proc.write(
        OLLAMA, "environ", "OLLAMA_HOST=0.0.0.0\0OLLAMA_HOST=127.0.0.1\0OLLAMA_NOPRUNE=1\0OLLAMA_NO_CLOUD=1\0"
    )
    assert rig.look()["by_id"]["ollama-settings"] == "failed"


def in_place_of(path: Path, what: str) -> None:
    """Put something that is no file, or no end of one, in a file's place."""
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "endless":
        path.symlink_to("/dev/zero")
    elif what == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 36)
    elif what == "lines":
        path.write_bytes(b"\n" * (1 << 20))
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as handle:
            os.chdir(path.parent)
            handle.bind(path.name)


@pytest.mark.parametrize("what", ["pipe", "directory", "loop", "endless", "huge", "lines", "socket"])
@pytest.mark.parametrize("name", FILES[:-1])
def test_what_is_no_file_is_unknown_and_holds_nothing_up(rig: Rig, name: str, what: str) -> None:
    if name == "net/sockstat":
        rig.proc.write(GATEWAY, name, "x")
    in_place_of(rig.proc.root / str(GATEWAY) / name, what)
    with at_most(512):
        found = rig.look()
    sound(found)
    assert not [key for key, status in found["by_id"].items() if status == "failed"]
    if name not in ("environ", "cgroup", "net/sockstat", "comm"):
        assert "ISO-PROBE-FAILED" in found["codes"]


def test_names_of_others_reach_no_terminal(rig: Rig) -> None:
    """An interface, a mount and a program with escapes, line feeds and bytes that are no text."""
    base = (rig.proc.root / str(GATEWAY) / "mountinfo").read_bytes()
    (rig.proc.root / str(GATEWAY) / "mountinfo").write_bytes(
        base + b"40 10 8:1 / /e\x1b[2J\\012x\x0b\xff rw - ext4 /dev/sda1 rw\n"
    )
    (rig.proc.root / str(GATEWAY) / "net/dev").write_bytes(b"Inter-|\n face |\n lo: 0\n \x1b[31m\xffeth0: 0\n")
    rig.proc.process("400", uid=0, namespaces={"net": 31, "pid": 9, "ipc": 1, "uts": 1, "mnt": 1}, comm="\x1b]0;x\x07")
    found = rig.look()
    sound(found)
    for check_id in ("gateway-mounts-expected", "gateway-no-interface-but-lo", "gateway-namespace-members"):
        assert found["by_id"][check_id] == "failed"


def test_processes_that_come_and_go_hide_nothing_and_break_nothing(rig: Rig, line: Any) -> None:
    """A thousand entries without a content (as of processes that just ended), and one real listener among them."""
    for pid in range(1000, 2000):
        (rig.proc.root / str(pid)).mkdir()
        (rig.proc.root / str(pid) / "status").write_text("State:\tZ (zombie)\n")
    rig.proc.process("5000", uid=1, namespaces={"net": 77, "pid": 9, "ipc": 1, "uts": 1, "mnt": 1}, comm="x")
    rig.proc.sockets("5000", "tcp", line("0.0.0.0", 11434))
    found = rig.look()
    sound(found)
    assert found["codes"] == {"ISO-LISTENER"}


def test_a_socket_table_as_long_as_is_read_takes_bounded_memory(rig: Rig, line: Any) -> None:
    text = "  sl  local_address rem_address\n" + (line("10.0.0.1", 443, "10.0.0.9", 999, 1) + "\n") * 100000
    (rig.proc.root / "1/net/tcp").write_text(text)
    with at_most(512):
        found = rig.look()
    assert found["by_id"]["isolation-listeners"] == "passed"
    (rig.proc.root / "1/net/tcp").write_text(text * 2)
    assert rig.look()["by_id"]["isolation-listeners"] == "unknown"


def test_a_snapshot_reads_each_link_once_and_remembers_errors(proc: Any) -> None:
    snapshot = Snapshot(str(proc.root))
    assert snapshot.namespace(OLLAMA, "net") == "net:[11]"
    proc.namespace(OLLAMA, "net", 99)
    assert snapshot.namespace(OLLAMA, "net") == "net:[11]"
    assert Snapshot(str(proc.root)).namespace(OLLAMA, "net") == "net:[99]"
    with pytest.raises(ProcError):
        snapshot.namespace(7, "net")
    shutil.copytree(proc.root / str(OLLAMA), proc.root / "7", symlinks=True)
    with pytest.raises(ProcError):
        snapshot.namespace(7, "net")
    first = snapshot.pids()
    (proc.root / "8").mkdir()
    assert snapshot.pids() == first


def test_a_pipe_that_holds_what_a_file_would_is_not_read(proc: Any) -> None:
    path = proc.root / str(OLLAMA) / "comm"
    path.unlink()
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    try:
        os.write(writer, b"ollama\n")
        with pytest.raises(ProcError, match="not a regular file"):
            ProcFS(str(proc.root)).read(OLLAMA, "comm")
    finally:
        os.close(writer)


@pytest.mark.parametrize("word", ["١٠٠٠١", "10_001", "+10001", "-1", "9" * 30, "0x1", "1e3"])
def test_what_python_takes_for_a_number_and_the_kernel_never_writes_is_none(proc: Any, word: str) -> None:
    proc.status(OLLAMA, uid=word)
    with pytest.raises(ProcError):
        ProcFS(str(proc.root)).status(OLLAMA)
    proc.write(OLLAMA, "uid_map", "0 0 {0}\n".format(word))
    with pytest.raises(ProcError):
        ProcFS(str(proc.root)).uid_inside(OLLAMA, 5)
