"""Row I1: what the seccomp profile refuses, seen from inside, and that without it the same calls are answered.

Row I2: what one connection of the egress relay may send. Needs the laboratory's engine and the images rampart/fetcher
and rampart/relay; containers are called rampart-confinement-* and are always removed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "unit" / "plugins"))

from profile_data import seccomp_text

ROOT = Path(__file__).resolve().parents[2]

VERSION = yaml.safe_load((ROOT / "roles/images/defaults/main.yml").read_text(encoding="utf-8"))["images_version"]
WORKING = {
    "personality-plain", "personality-asked", "getpid", "socket-unix", "socket-tcp", "socket-tcp6", "socket-udp",
    "socket-route",
}  # fmt: skip


def docker(*words: str, stdin: bytes | None = None) -> str:
    """Run the engine's client against the laboratory and return what it printed."""
    engine = os.environ.get("DOCKER_HOST") or f"unix://{ROOT / '.lab' / 'docker.sock'}"
    done = subprocess.run(
        ["docker", *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "DOCKER_HOST": engine},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def calls(*options: str) -> dict[str, str]:
    """Make the calls of syscall_guest.py in a container as the roles start them, with these security options."""
    words = [
        "run",
        "--rm",
        "-i",
        "--name",
        "rampart-confinement-calls",
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
    ]
    words += ["--user", "10003:10003", "--tmpfs", "/tmp:noexec,size=1m", "--security-opt", "no-new-privileges"]
    words += [word for option in options for word in ("--security-opt", option)]
    guest = (ROOT / "tests" / "mutations" / "syscall_guest.py").read_bytes()
    said: dict[str, str] = json.loads(
        docker(*words, "--entrypoint", "python3", f"rampart/fetcher:{VERSION}", "-", stdin=guest)
    )
    return said


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    profile = tmp_path_factory.mktemp("profile") / "rampart.json"
    profile.write_text(seccomp_text())
    return calls(f"seccomp={profile}")


@pytest.mark.row("I1")
def test_what_is_removed_is_refused_and_what_is_needed_works(ours: dict[str, str]) -> None:
    assert {name for name, answer in ours.items() if answer == "allowed"} == WORKING
    # "Not implemented" lets the C library take clone instead, whose flags the filter sees. runc answers so for calls
    # that are newer than all of a profile's.
    others = {name: answer for name, answer in ours.items() if answer not in ("allowed", "EPERM")}
    assert others.items() <= {"clone3": "ENOSYS", "listmount": "ENOSYS"}.items()
    assert ours["clone3"] == "ENOSYS"


@pytest.mark.row("I1")
def test_without_the_profile_the_same_calls_reach_the_kernel(ours: dict[str, str]) -> None:
    """Else the refusals above would prove nothing: most are answered by something else than EPERM, or allowed."""
    bare = calls("seccomp=unconfined")
    changed = {name for name, answer in ours.items() if answer != bare[name]}
    assert {
        "memfd_create",
        "io_setup",
        "socket-mptcp",
        "unshare",
        "process_vm_readv",
        "sync",
        "semget",
        "mknod",
    } <= changed
    assert len(changed) >= 35


@pytest.mark.row("I1")
def test_it_is_stricter_than_what_the_engine_has_built_in(ours: dict[str, str]) -> None:
    built_in = calls()
    stricter = {name for name, answer in ours.items() if answer == "EPERM" and built_in[name] != "EPERM"}
    assert {"memfd_create", "execveat", "ptrace", "io_setup", "vmsplice", "sync", "socket-netfilter"} <= stricter
    assert {name for name, answer in ours.items() if answer == "allowed" and built_in[name] != "allowed"} == set()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Path]:
    """An egress relay as the role starts it, in front of a server that sends back what it gets; its socket."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    start = yaml.safe_load((ROOT / "roles/egress_proxy/tasks/start.yml").read_text(encoding="utf-8"))
    (task,) = [task["community.docker.docker_container"] for task in start if "relay" in task["name"]]
    listen = task["command"][0]
    for name, value in (
        ("layout_egress_socket | basename", "egress.sock"),
        ("egress_proxy_connections", "4"),
        ("egress_proxy_upload_bytes", "65536"),
    ):
        listen = listen.replace("{{ " + name + " }}", value)
    common = ["run", "-d", "--rm", "--cap-drop", "ALL", "--user", "10004:10004"]
    image = f"rampart/relay:{VERSION}"
    names = ["rampart-confinement-relay", "rampart-confinement-echo"]
    try:
        docker(
            *common,
            "--name",
            names[1],
            "--network",
            "none",
            image,
            "TCP-LISTEN:3128,bind=127.0.0.1,fork,reuseaddr",
            "PIPE",
        )
        docker(*common, "--name", names[0], "--network", f"container:{names[1]}", "-v", f"{tmp_path}:/run/egress",
               image, listen, task["command"][1])  # fmt: skip
        for _attempt in range(50):
            if (tmp_path / "egress.sock").exists():
                break
            time.sleep(0.1)
        yield tmp_path / "egress.sock"
    finally:
        docker("rm", "-f", *names)


def echoed(path: Path, size: int) -> int:
    """Send `size` bytes and return how many of them reached the other side (and came back)."""
    total = 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        try:
            for _block in range(size // 4096):
                client.sendall(b"x" * 4096)
                total += len(client.recv(4096))
        except OSError:
            pass
        return total


@pytest.mark.row("I2")
def test_one_connection_of_the_egress_relay_sends_no_more_than_its_bound(relay: Path) -> None:
    assert echoed(relay, 1 << 20) <= 65536
    # The bound is each connection's own: the next one works.
    assert echoed(relay, 32768) == 32768
