# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attack can do, by name, and the parameters each takes: the vocabulary of the attacks' files."""

from __future__ import annotations

from collections.abc import Callable

from . import attack_attempts, attack_files, attack_powers, attack_proxy, attack_route
from .attack_attempts import Parameters, Result

# Run in a child process, where the attack starts.
FUNCTIONS: dict[str, Callable[[Parameters], Result]] = {
    "tcp": attack_attempts.tcp,
    "udp": attack_attempts.udp,
    "dns": attack_attempts.dns,
    "resolve": attack_attempts.resolve,
    "icmp": attack_attempts.icmp,
    "raw_socket": attack_attempts.raw_socket,
    "routed": attack_route.routed,
    "engine_socket": attack_files.engine_socket,
    "unix_sockets": attack_files.unix_sockets,
    "abstract_socket": attack_files.abstract_socket,
    "write_file": attack_files.write_file,
    "execute_temporary": attack_files.execute_temporary,
    "read_files": attack_files.read_files,
    "list_directories": attack_files.list_directories,
    "environments": attack_files.environments,
    "replace_sockets": attack_files.replace_sockets,
    "hard_links": attack_files.hard_links,
    "gain_root": attack_powers.gain_root,
    "gain_capability": attack_powers.gain_capability,
    "mount": attack_powers.mount,
    "host_processes": attack_powers.host_processes,
    "trace_process": attack_powers.trace_process,
    "proxy_connect": attack_proxy.proxy_connect,
    "proxy_request": attack_proxy.proxy_request,
    "proxy_upload": attack_proxy.proxy_upload,
}
# Run as a program of their own inside a clone of the server's container (see attack_clone).
CLONE_FUNCTIONS = ("system_call", "set_uid", "fork_bomb", "memory_bomb")
_PROXY = (frozenset(["socket"]), frozenset(["names", "addresses", "ports", "sni"]))
# (required, optional) parameters; the rest take none.
SIGNATURES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "tcp": (frozenset(["addresses", "ports"]), frozenset(["no_way"])),
    "udp": (frozenset(["addresses", "port"]), frozenset()),
    "dns": (frozenset(["addresses", "name"]), frozenset()),
    "resolve": (frozenset(["name"]), frozenset()),
    "icmp": (frozenset(["addresses"]), frozenset()),
    "routed": (frozenset(["addresses", "ports", "via"]), frozenset()),
    "unix_sockets": (frozenset(["paths"]), frozenset()),
    "read_files": (frozenset(["paths"]), frozenset()),
    "hard_links": (frozenset(["paths"]), frozenset()),
    "write_file": (frozenset(["directories"]), frozenset()),
    "execute_temporary": (frozenset(["directories"]), frozenset()),
    "list_directories": (frozenset(["directories"]), frozenset()),
    "replace_sockets": (frozenset(["directories"]), frozenset()),
    "proxy_connect": _PROXY,
    "proxy_request": _PROXY,
    "proxy_upload": (frozenset(["socket", "name", "size"]), frozenset()),
    "system_call": (frozenset(["call"]), frozenset(["arguments"])),
    "memory_bomb": (frozenset(["limit"]), frozenset()),
}
NO_PARAMETERS: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


def known_functions() -> frozenset[str]:
    """Return the names of all functions an attack's file may give."""
    return frozenset(FUNCTIONS) | frozenset(CLONE_FUNCTIONS)
