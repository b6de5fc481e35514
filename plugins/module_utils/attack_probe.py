# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of a few dozen bytes, to be run inside a container of whatever image: one system call, one bomb.

The seccomp filter of a container cannot be joined from outside. So that its effect is seen, something has to be
executed inside, where there may be neither a shell nor an interpreter. These are complete static ELF programs for
x86_64; their exit status is the errno of what they tried, 0 when the kernel did it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Union

MACHINE = "x86_64"
BASE = 0x400000
HEADERS_BYTES = 64 + 56
# Numbers of system calls on x86_64.
CALLS = {
    "add_key": 248,
    "bpf": 321,
    "init_module": 175,
    "io_uring_setup": 425,
    "keyctl": 250,
    "mount": 165,
    "open_by_handle_at": 304,
    "perf_event_open": 298,
    "ptrace": 101,
    "setns": 308,
    "unshare": 272,
    "userfaultfd": 323,
}
Argument = Union[int, str]

# mov reg, imm64 for rdi, rsi, rdx, r10, r8, r9: the order in which the kernel takes arguments.
_REGISTERS = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")
_SYSCALL = b"\x0f\x05"
# mov edi, eax; mov eax, 60 (exit); syscall
_EXIT = b"\x89\xc7\xb8\x3c\0\0\0" + _SYSCALL
# test rax, rax; jns success; neg rax; jmp out; success: xor eax, eax; out: exit
_EXIT_ERRNO = b"\x48\x85\xc0\x79\x05\x48\xf7\xd8\xeb\x02\x31\xc0" + _EXIT
# again: mov eax, 34 (pause); syscall; jmp again
_PAUSE = b"\xb8\x22\0\0\0" + _SYSCALL + b"\xeb\xf7"


def _program(code: bytes) -> bytes:
    """Return an ELF program of one segment that can be read, written and executed."""
    size = HEADERS_BYTES + len(code)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", identity, 2, 62, 1, BASE + HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size, 4096)
    return header + segment + code


def _load(call: int) -> bytes:
    return b"\xb8" + struct.pack("<I", call)


def system_call(name: str, arguments: Sequence[Argument] = ()) -> bytes:
    """Return a program that makes one system call; a text among the arguments is passed as a pointer to it.

    Raises ValueError for a call that is not in CALLS or more than six arguments.
    """
    if name not in CALLS or len(arguments) > len(_REGISTERS):
        raise ValueError("no such probe: {0} with {1} arguments".format(name, len(arguments)))
    tail = _load(CALLS[name]) + _SYSCALL + _EXIT_ERRNO
    # Each move takes ten bytes; texts follow the code.
    where = BASE + HEADERS_BYTES + 10 * len(arguments) + len(tail)
    code, texts = b"", b""
    for register, argument in zip(_REGISTERS, arguments):
        if isinstance(argument, str):
            value = where + len(texts)
            texts += argument.encode() + b"\0"
        else:
            value = argument & 0xFFFFFFFFFFFFFFFF
        code += register + struct.pack("<Q", value)
    return _program(code + tail + texts)


def effective_root() -> bytes:
    """Return a program that ends with 0 when it runs as uid 0, else with 1 (EPERM)."""
    # geteuid; xor edi, edi; test eax, eax; setne dil; mov eax, 60; syscall
    return _program(_load(107) + _SYSCALL + b"\x31\xff\x85\xc0\x40\x0f\x95\xc7\xb8\x3c\0\0\0" + _SYSCALL)


def pause() -> bytes:
    """Return a program that waits until it is killed."""
    return _program(_PAUSE)


def forks(count: int, linger: int = 2) -> bytes:
    """Return a program that starts `count` processes which wait; it ends with the errno of the first refused one.

    After a refusal it stays for `linger` seconds, so that the counters of its control group can be read.
    """

    # failed: neg rax; mov r13, rax; nanosleep(&time, 0); mov edi, r13d; exit
    def failed(address: int) -> bytes:
        return (
            b"\x48\xf7\xd8\x49\x89\xc5" + b"\x48\xbf" + struct.pack("<Q", address) + b"\x31\xf6"
            + _load(35) + _SYSCALL + b"\x44\x89\xef\xb8\x3c\0\0\0" + _SYSCALL
        )  # fmt: skip

    end = b"\x31\xc0" + _EXIT
    # loop: fork; test rax, rax; jz child; js failed; dec r12d; jnz loop; exit(0)
    fork = _load(57) + _SYSCALL + b"\x48\x85\xc0"
    step = b"\x41\xff\xcc"
    back = -(len(fork) + 4 + len(step) + 2)
    to_failed = len(step) + 2 + len(end)
    to_child = 2 + to_failed + len(failed(0))
    head = b"\x41\xbc" + struct.pack("<I", count)
    loop = (
        fork + b"\x74" + struct.pack("<b", to_child) + b"\x78" + struct.pack("<b", to_failed) + step
        + b"\x75" + struct.pack("<b", back)
    )  # fmt: skip
    length = len(head) + len(loop) + len(end) + len(failed(0)) + len(_PAUSE)
    pause_time = BASE + HEADERS_BYTES + length
    return _program(head + loop + end + failed(pause_time) + _PAUSE + struct.pack("<qq", linger, 0))


def memory(size: int) -> bytes:
    """Return a program that writes to each page of `size` bytes and ends with 0 when it survives that."""
    pages = size // 4096
    arguments = (0, pages * 4096, 3, 0x22, -1, 0)
    code = b"".join(
        register + struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF) for register, value in zip(_REGISTERS, arguments)
    )
    # mov ecx, pages; loop: mov byte [rax], 1; add rax, 4096; dec rcx; jnz loop; exit(0)
    touch = b"\xb9" + struct.pack("<I", pages) + b"\xc6\x00\x01\x48\x05\x00\x10\0\0\x48\xff\xc9\x75\xf2\x31\xc0" + _EXIT
    # mmap; test rax, rax; jns touch; neg rax; exit
    refused = b"\x48\xf7\xd8" + _EXIT
    return _program(
        code + _load(9) + _SYSCALL + b"\x48\x85\xc0\x79" + struct.pack("<b", len(refused)) + refused + touch
    )
