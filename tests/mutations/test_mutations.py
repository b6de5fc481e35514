"""Rows I1, I2, I4: removing any single protection of a container is named by the probes of
ollama_isolation_facts.

Needs a Docker Engine whose containers are in this machine's /proc: RAMPART_MUTATION_DOCKER, DOCKER_HOST
(unix://...) or the laboratory's socket (.lab/docker.sock). Containers are called rampart-mutant-*, and are
always removed.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import Expectation, inspect_isolation
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_host import SocketDirectory
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "plugins"))

from profile_data import seccomp_text

HERE = Path(__file__).parent

TABLE = yaml.safe_load((HERE / "mutations.yml").read_text(encoding="utf-8"))
ROLES = ("relay", "ollama", "gateway")
IMAGE = os.environ.get("RAMPART_MUTATION_IMAGE", "debian:13-slim")
DIRECTORIES = {
    "store": (0, 0, 0o755),
    "run-ollama": (10005, 10002, 0o2750),
    "run-gateway": (10002, 10006, 0o2750),
    "etc-gateway": (0, 10002, 0o750),
    "log": (10002, 4, 0o750),
}
# What other laboratories on this machine may do to the host-wide checks; the mutations of these are looked for by name.
HOST_WIDE = {"isolation-listeners", "isolation-no-native-ollama", "isolation-no-foreign-connections"}

Table = list[tuple[str, str, str, float]]


def engine_socket() -> Path:
    """The engine's socket: said by the environment, else the laboratory's."""
    named = os.environ.get("RAMPART_MUTATION_DOCKER") or os.environ.get("DOCKER_HOST", "")
    path = Path(named.removeprefix("unix://")) if named else HERE.parents[1] / ".lab" / "docker.sock"
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        pytest.fail(
            f"MUTATION-NO-ENGINE: no Docker socket at {path}. Start the laboratory (tests/lab/lab.py up)", pytrace=False
        )
    return path.resolve()


def merged(base: Any, change: Any) -> Any:
    """Return `base` with `change` laid over it: dictionaries are merged, None removes, all else replaces."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    result = {key: value for key, value in base.items() if change.get(key, key) is not None}
    for key, value in change.items():
        if value is not None:
            result[key] = merged(base.get(key), value)
    return result


def filled(data: Any, values: dict[str, str]) -> Any:
    """Return `data` with {name} replaced in every text."""
    if isinstance(data, dict):
        return {key: filled(value, values) for key, value in data.items()}
    if isinstance(data, list):
        return [filled(item, values) for item in data]
    if isinstance(data, str):
        for name, value in values.items():
            data = data.replace("{" + name + "}", value)
    return data


class HandEngine(Engine):
    """The engine's client with what a person may do by hand; none of it belongs into the collection."""

    def by_hand(self, path: str, body: dict[str, Any]) -> Any:
        """POST to the engine and return its answer's bytes."""
        return self._request("POST", path, body, self.timeout)

    def exec(self, name: str, user: str, command: list[str]) -> None:
        """Run a detached command in a container (docker exec -d -u)."""
        created = self._object("POST", f"/containers/{name}/exec", {"User": user, "Cmd": command})
        self.by_hand(f"/exec/{created['Id']}/start", {"Detach": True})


class Workshop:
    """Starts clones of the three containers, hardened or mutated, and looks at them with the project's probes."""

    def __init__(self, engine: HandEngine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory
        self.image = str(engine.inspect_image(IMAGE)["Id"])
        self.names = {role: f"rampart-mutant-{role}" for role in ROLES}
        self.undo: list[Callable[[], object]] = []
        # What the facts must show of a process that was started by hand: others may run on the machine besides.
        self.traces: list[str] = []

    def prepare_directories(self) -> None:
        """Make the host's directories as role `layout` does, right again after each mutation."""
        for name, (uid, gid, mode) in DIRECTORIES.items():
            path = self.directory / name
            path.mkdir(exist_ok=True)
            os.chown(path, uid, gid)
            path.chmod(mode)

    def config(self, role: str, change: dict[str, Any]) -> dict[str, Any]:
        """Return what the API is given for a role's container, with `change` in it."""
        base = merged(TABLE["baseline"]["common"], TABLE["baseline"][role])
        values = {
            "dir": str(self.directory),
            "socket": self.engine.socket_path,
            "socket_dir": str(Path(self.engine.socket_path).parent),
            "relay": self.names["relay"],
            "tag": IMAGE,
            "seccomp": seccomp_text(),
            "seccomp_gpu": seccomp_text(gpu=True),
        }
        config: dict[str, Any] = filled(merged({"Image": self.image, **base}, change), values)
        return config

    def start(self, role: str, change: dict[str, Any] | None = None) -> None:
        """Start a role's container anew."""
        name = self.names[role]
        self.engine.remove_container(name)
        self.engine.create_container(name, self.config(role, change or {}))
        self.engine.start_container(name)

    def remove(self) -> None:
        """Remove every mutant."""
        for item in self.engine.containers(labels=["rampart.mutant=1"]):
            self.engine.remove_container(str(item["Id"]))

    def look(self, images: dict[str, str] | None = None, devices: tuple[str, ...] = ()) -> Report:
        """Look as ollama_isolation_facts does."""
        return inspect_isolation(
            Expectation(
                containers=self.names,
                images=images or {},
                devices=devices,
                store=str(self.directory / "store"),
                socket_directories=[
                    SocketDirectory("relay", str(self.directory / "run-ollama"), 10005, 10002),
                    SocketDirectory("gateway", str(self.directory / "run-gateway"), 10002, 10006),
                ],
                docker_socket=self.engine.socket_path,
            ),
            self.engine,
        )

    # --- what is done by hand -----------------------------------------------------------------------------
    def by_hand(self, role: str, after: dict[str, Any]) -> None:
        """Do what a mutation's `after` says to the running container or around it."""
        for verb, value in after.items():
            getattr(self, f"do_{verb}")(role, value)

    def do_exec(self, role: str, value: dict[str, Any]) -> None:
        self.engine.exec(self.names[role], value["user"], value["command"])
        time.sleep(0.3)

    def do_connect(self, role: str, network: str) -> None:
        body = {"Container": self.names[role]}
        self.engine.by_hand("/networks/none/disconnect", body)
        self.engine.by_hand(f"/networks/{network}/connect", body)

    def do_stranger(self, role: str, _value: bool) -> None:
        config = self.config(role, {"HostConfig": {"NetworkMode": f"container:{self.names[role]}"}})
        self.engine.create_container("rampart-mutant-stranger", config)
        self.engine.start_container("rampart-mutant-stranger")
        self.undo.append(lambda: self.engine.remove_container("rampart-mutant-stranger"))

    def do_chmod(self, _role: str, value: list[Any]) -> None:
        (self.directory / value[0]).chmod(int(str(value[1]), 8))

    def do_chgrp(self, _role: str, value: list[Any]) -> None:
        os.chown(self.directory / value[0], -1, value[1])

    def do_chown(self, _role: str, value: list[Any]) -> None:
        os.chown(self.directory / value[0], value[1], -1)

    def do_stop(self, role: str, _value: bool) -> None:
        self.engine.by_hand(f"/containers/{self.names[role]}/kill", {})
        self.engine.wait_container(self.names[role], 10)

    def do_listen(self, _role: str, port: int) -> None:
        # In a namespace of its own: nothing is opened on the machine itself, and 11434 is always free there.
        code = (
            f"import socket, time; s = socket.create_server(('::', {port}), family=socket.AF_INET6);"
            " print(1, flush=True); time.sleep(60)"
        )
        process = self._spawn(["unshare", "-n", sys.executable, "-c", code])
        assert process.stdout is not None
        assert process.stdout.readline(), "the listener did not start"
        self.traces.append(os.readlink(f"/proc/{process.pid}/ns/net"))

    def do_native(self, _role: str, name: str) -> None:
        program = self.directory / name
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        process = self._spawn([str(program), "60"])
        self.undo.append(program.unlink)
        self.traces.append(f"'pid': {process.pid}, 'program': '{name}'")
        time.sleep(0.1)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)

        def end() -> None:
            process.kill()
            process.communicate()

        self.undo.append(end)
        return process


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop whose three hardened containers run; everything is removed at the end."""
    if os.geteuid() != 0:
        pytest.skip("the kernel shows other users' processes to root alone")
    directory = tmp_path_factory.mktemp("mutants")
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    shop = Workshop(HandEngine(str(engine_socket())), directory)
    shop.remove()
    try:
        shop.prepare_directories()
        for role in ROLES:
            shop.start(role)
        yield shop
    finally:
        shop.remove()


def codes_of(report: Report, leave_out: set[str]) -> set[str]:
    """Codes that the report names, without those of the checks in `leave_out`."""
    by_check = {"isolation-listeners": "ISO-LISTENER", "isolation-no-native-ollama": "ISO-NATIVE-OLLAMA"}
    by_check["isolation-no-foreign-connections"] = "ISO-FOREIGN-CONNECTION"
    return {finding.code for finding in report.findings} - {by_check[check] for check in leave_out}


def test_hardened_containers_yield_no_finding(workshop: Workshop) -> None:
    """I1: without any mutation nothing is named and every check passes, so what follows is the mutation's doing."""
    report = workshop.look()
    # What this kernel cannot have (AppArmor, say) is no pass, and not the containers' doing.
    left_out = HOST_WIDE | report.inapplicable
    not_passed = {
        name: item.evidence
        for name, item in report.checks.items()
        if item.status != "passed" and name not in left_out
    }
    assert not_passed == {}
    assert codes_of(report, HOST_WIDE) == set()


def test_every_finding_of_a_container_has_a_mutation() -> None:
    """I4: a code that the container probes can report without a mutation that proves it would be an empty promise."""
    sources = HERE.parents[1] / "plugins" / "module_utils"
    text = "".join(path.read_text(encoding="utf-8") for path in sources.glob("isolation*.py"))
    # The code of a shared namespace is built by format: one for each kind.
    named = set(re.findall(r'"(ISO-[A-Z-]+[A-Z])"', text)) | {
        f"ISO-HOST-{kind}" for kind in ("NET", "PID", "IPC", "UTS")
    }
    proven = {item["code"] for item in TABLE["mutations"]}
    # These need a kernel with AppArmor, a connection out of a namespace, a dead engine, a broken probe: unit tests.
    elsewhere = {"ISO-APPARMOR", "ISO-FOREIGN-CONNECTION", "ISO-ENGINE-DOWN", "ISO-PROBE-FAILED"}
    assert named - elsewhere == proven
    assert len(TABLE["mutations"]) >= 30


@pytest.mark.parametrize("mutation", TABLE["mutations"], ids=lambda item: str(item["id"]))
def test_mutation_is_named(workshop: Workshop, mutation: dict[str, Any], table: Table) -> None:
    """I1, I2, I4: the missing protection is named by its code, on the container it is missing from."""
    started = time.monotonic()
    role = mutation["role"]
    change = mutation.get("change")
    try:
        if change is not None:
            try:
                workshop.start(role, change)
            except EngineError as error:
                if not mutation.get("may_not_start"):
                    raise
                assert "ENGINE" in error.code
                # The engine still describes a container that it could not start; the probe reads that description.
                table.append((mutation["id"], mutation["without"], privileged_by_inspect(workshop, role), 0.0))
                return
        workshop.by_hand(role, mutation.get("after", {}))
        images = {role: mutation["expect_image"]} if "expect_image" in mutation else None
        report = workshop.look(images, tuple(mutation.get("devices", ())))
        check = report.checks[mutation["check"]]
        codes = {finding.code for finding in report.findings}
        assert mutation["code"] in codes, sorted(codes)
        assert check.status == "failed", check
        assert report.verdict() == "failed"
        for trace in workshop.traces:
            assert trace in str(report.facts)
        caught = f"{mutation['code']} ({mutation['check']})"
        table.append((mutation["id"], mutation["without"], caught, time.monotonic() - started))
    finally:
        while workshop.undo:
            workshop.undo.pop()()
        workshop.traces.clear()
        workshop.prepare_directories()
        restore(workshop, role, mutation)


def restore(workshop: Workshop, role: str, mutation: dict[str, Any]) -> None:
    """Start the mutated container as it should be, and those that live in its namespace."""
    if mutation.get("change") is None and not {"exec", "connect", "stop"} & set(mutation.get("after", {})):
        return
    workshop.start(role)
    if role == "relay":
        workshop.start("ollama")


def privileged_by_inspect(workshop: Workshop, role: str) -> str:
    """Judge the engine's description of a --privileged container that this machine could not start."""
    from ansible_collections.rampart.ollama.plugins.module_utils.isolation_container import HostView, Target
    from ansible_collections.rampart.ollama.plugins.module_utils.isolation_engine import EngineProbes
    from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

    inspect = workshop.engine.inspect_container(workshop.names[role])
    report = Report()
    target = Target(role, workshop.names[role], 0, 0, inspect)
    with contextlib.suppress(NotImplementedError):
        EngineProbes(ProcFS(), HostView({}, frozenset(), frozenset(), False), target, report).run()
    assert report.checks[f"{role}-not-privileged"].status == "failed"
    assert "ISO-PRIVILEGED" in {finding.code for finding in report.findings}
    return f"ISO-PRIVILEGED ({role}-not-privileged; not startable here)"
