"""Plants breaches on a machine that the watch guards, and says how long each one lived.

Real parts: gate, actor and sensor run as child processes on throw-away sockets, against the laboratory's engine and
three containers that are clones of the roles'. The fence (fence.py) keeps them off everything else on the machine.
Also used by tests/benchmarks/bench_watch.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from by_hand import DIRECTORIES, IMAGE, HandEngine, engine_socket, hardened, merged

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "ansible_collections.rampart.ollama.plugins.module_utils"
UID = 10077  # nobody's on this machine
LABEL = "rampart.watchtest"
PREFIX = "rampart-watchtest"
ROLES = ("relay", "ollama", "gateway")


@dataclass(frozen=True)
class Planted:
    """One breach: when it began (wall clock), and which requests of the watch end it."""

    kind: str
    since: float
    verb: str
    targets: frozenset[str]


@dataclass(frozen=True)
class Caught:
    """What became of it: seconds from breach to containment (None: not contained), and the finding's code."""

    kind: str
    seconds: float | None
    code: str


class Rig:
    """Containers and the watch around them; use as a context manager."""

    def __init__(self, policy: dict[str, str] | None = None, with_actor: bool = True, **changes: Any) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rwatch-"))
        self.engine = HandEngine(str(engine_socket()))
        self.image = str(self.engine.inspect_image(IMAGE)["Id"])
        self.names = {role: f"{PREFIX}-{role}" for role in ROLES}
        self.policy = policy or {}
        self.changes = changes
        self.with_actor = with_actor
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.undo: list[Callable[[], object]] = []
        self.network = ""

    # --- set-up -------------------------------------------------------------------------------------------
    def __enter__(self) -> Rig:
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.tidy()
        for process in reversed(self.processes.values()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.communicate()
        self._remove_containers()
        with contextlib.suppress(EngineError):
            self.engine.remove_network(f"{PREFIX}-net")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _prepare(self) -> None:
        self.directory.chmod(0o755)
        for name, (uid, gid, mode) in DIRECTORIES.items():
            path = self.directory / name
            path.mkdir()
            os.chown(path, uid, gid)
            path.chmod(mode)
        for name in ("blobs", "manifests"):
            (self.directory / "store" / name).mkdir()
        for name in ("out", "metrics", "sockets"):
            (self.directory / name).mkdir()
        for name in ("out", "metrics"):
            os.chown(self.directory / name, UID, UID)
        os.chown(self.directory / "sockets", 0, UID)
        (self.directory / "sockets").chmod(0o2750)
        self._remove_containers()
        with contextlib.suppress(EngineError):
            self.engine.remove_network(f"{PREFIX}-net")
        created = json.loads(self.engine.by_hand("/networks/create", {"Name": f"{PREFIX}-net", "Internal": True}))
        self.network = created["Id"]
        for role in ROLES:
            self.start(role)
        (self.directory / "nft").write_text("#!/bin/sh\nexit 0\n")
        (self.directory / "nft").chmod(0o755)
        (self.directory / "quarantine.nft").write_text("add table inet rampart_quarantine\n")
        self._start_watch()

    def _start_watch(self) -> None:
        sockets = self.directory / "sockets"
        gate, actor, fence = (str(sockets / f"{name}.sock") for name in ("gate", "actor", "fence"))
        engine = self.engine.socket_path
        self._run("gate", "watch_gate", "--socket", gate, "--engine", engine, "--uid", str(UID))
        if self.with_actor:
            (self.directory / "actor.json").write_text(json.dumps(self._actor_config(actor)))
            (self.directory / "actor.json").chmod(0o600)
            self._run("actor", "watch_actor", "--config", str(self.directory / "actor.json"))
            self._until(lambda: os.path.exists(actor), "the actor's socket")
        self._own([])
        command = [sys.executable, str(HERE / "fence.py"), fence, actor, str(self.directory / "own.json"), str(UID)]
        self.processes["fence"] = self._popen(command)
        threading.Thread(target=self._hear, daemon=True).start()
        self._until(lambda: os.path.exists(fence) and os.path.exists(gate), "the sockets")
        self.start_sensor()

    def start_sensor(self) -> None:
        """Start the sensor, and wait for its first sweep."""
        sockets = self.directory / "sockets"
        config = {
            "schema": 1, "uid": UID, "gid": UID, "containers": self.names,
            "store": str(self.directory / "store"), "docker_socket": self.engine.socket_path,
            "socket_directories": [
                {"role": "relay", "path": str(self.directory / "run-ollama"), "uid": 10005, "gid": 10002},
                {"role": "gateway", "path": str(self.directory / "run-gateway"), "uid": 10002, "gid": 10006}],
            "engine_socket": str(sockets / "gate.sock"), "actor_socket": str(sockets / "fence.sock"),
            "log_file": str(self.directory / "out" / "watch.json"),
            "metrics_directory": str(self.directory / "metrics"),
            "firewall_table": "", "nflog_group": None, "policy": self.policy, **self.changes,
        }  # fmt: skip
        (self.directory / "watch.json").write_text(json.dumps(config))
        self._run("sensor", "watch_sensor_main", "--config", str(self.directory / "watch.json"))
        self._until(lambda: "rampart_watch_up 1" in self.metrics(), "the sensor's first figures")
        time.sleep(1.0)

    def _actor_config(self, actor: str) -> dict[str, Any]:
        limit = {"burst": 1000, "per_hour": 100000}
        mounts = {"relay": ["run-ollama"], "ollama": ["store"],
                  "gateway": ["run-ollama", "run-gateway", "etc-gateway", "log"]}  # fmt: skip
        joins = {"relay": [], "ollama": [self.names["relay"]], "gateway": []}
        return {
            "schema": 1, "sensor_uid": UID, "socket": actor, "engine_socket": self.engine.socket_path,
            "engine_timeout": 5.0, "state_directory": str(self.directory / "state"),
            "quarantine_file": str(self.directory / "quarantine.nft"), "nft": str(self.directory / "nft"),
            "server": self.names["ollama"], "server_image": "sha256:" + "0" * 64, "stop_grace_seconds": 0,
            "protected_paths": [str(self.directory)],
            "guarded": {
                self.names[role]: {"networks": [], "joins": joins[role],
                                   "mounts": [str(self.directory / item) for item in mounts[role]]}
                for role in ROLES},
            "limits": dict.fromkeys(("network", "process", "container", "host"), limit),
            "expected": {
                "containers": self.names, "uids": {"relay": 10005, "ollama": 10001, "gateway": 10002},
                "mounts": {"relay": {"/run/ollama": "rw"}, "ollama": {"/models": "ro"},
                           "gateway": {"/run/ollama": "rw", "/run/gateway": "rw", "/etc/gateway": "ro",
                                       "/var/log/gateway": "rw"}},
                "images": {}, "devices": [], "store": str(self.directory / "store"), "socket_directories": []},
        }  # fmt: skip

    def _run(self, name: str, module: str, *arguments: str) -> None:
        self.processes[name] = self._popen([sys.executable, "-m", f"{PACKAGE}.{module}", *arguments])

    def _popen(self, command: list[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections"), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd="/")

    def _hear(self) -> None:
        stream = self.processes["fence"].stdout
        assert stream is not None
        for line in stream:
            self.answers.put(json.loads(line))

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come within {seconds} s")
            time.sleep(0.02)

    def _own(self, more: list[str]) -> None:
        """Tell the fence what is ours."""
        ours = [str(item["Id"]) for item in self.engine.containers(labels=[f"{LABEL}=1"])]
        draft = self.directory / "own.tmp"
        draft.write_text(json.dumps(ours + more))
        draft.chmod(0o644)
        draft.rename(self.directory / "own.json")

    # --- containers ---------------------------------------------------------------------------------------
    def config(self, role: str, change: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the API is given for a role's container, with `change` in it."""
        base = hardened(role, self.image, self.directory, self.names["relay"], LABEL)
        return merged(base, change or {})

    def start(self, role: str, change: dict[str, Any] | None = None) -> str:
        """Start a role's container anew, and the server with its relay; return its id."""
        return self.run_by_hand(self.names[role], self.config(role, change))

    def run_by_hand(self, name: str, config: dict[str, Any]) -> str:
        """Create and start a container; the fence knows it before it runs."""
        self.engine.remove_container(name)
        identity = str(self.engine.create_container(name, config))
        self._own([])
        self.engine.start_container(name)
        return identity

    def begun(self, identity: str) -> float:
        """When a container was started, by the engine's word."""
        text = str(self.engine.inspect_container(identity)["State"]["StartedAt"])
        return datetime.fromisoformat(text).timestamp()

    def _remove_containers(self) -> None:
        for item in self.engine.containers(labels=[f"{LABEL}=1"]):
            self.engine.remove_container(str(item["Id"]))

    # --- breaches -----------------------------------------------------------------------------------------
    def foreign(self, kind: str, host_config: dict[str, Any]) -> Planted:
        """Start a container of nobody's by hand."""
        name = f"{PREFIX}-{kind}"
        config = {"Image": self.image, "Entrypoint": ["sleep"], "Cmd": ["60"], "Labels": {LABEL: "1"},
                  "HostConfig": {"NetworkMode": "none", **host_config}}  # fmt: skip
        self.undo.append(lambda: self.engine.remove_container(name))
        identity = self.run_by_hand(name, config)
        return Planted(kind, self.begun(identity), "container", frozenset([identity]))

    def id_of(self, role: str) -> str:
        """The id of a role's container."""
        return str(self.engine.inspect_container(self.names[role])["Id"])

    def spawn(self, kind: str, command: list[str]) -> Planted:
        """Start a process on the machine, in a network namespace of its own so that nobody is disturbed."""
        since = time.time()
        process = subprocess.Popen(["unshare", "-n", *command], stdout=subprocess.DEVNULL)
        self._own([str(process.pid)])
        self.undo.append(lambda: (process.kill(), process.wait()))
        return Planted(kind, since, "process", frozenset([str(process.pid)]))

    def plant(self, kind: str) -> Planted:
        """Do one of KINDS."""
        return getattr(self, "plant_" + kind.replace("-", "_"))()  # type: ignore[no-any-return]

    def plant_network_connect(self) -> Planted:
        body = {"Container": self.names["relay"]}
        self.undo.append(self.restore)
        self.engine.by_hand("/networks/none/disconnect", body)
        since = time.time()
        self.engine.by_hand(f"/networks/{self.network}/connect", body)
        return Planted("network-connect", since, "network", frozenset([self.id_of("relay")]))

    def plant_interface_by_hand(self) -> Planted:
        pid = self.engine.inspect_container(self.names["gateway"])["State"]["Pid"]
        self.undo.append(self.restore)
        since = time.time()
        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "add", "by-hand0", "type", "bridge"], check=True)
        return Planted("interface-by-hand", since, "container", frozenset([self.id_of("gateway")]))

    def plant_capabilities(self) -> Planted:
        self.undo.append(self.restore)
        change = {"HostConfig": {"CapDrop": ["SYS_RESOURCE"], "CapAdd": ["ALL"]}, "User": "0:0"}
        identity = self.start("gateway", change)
        return Planted("capabilities", self.begun(identity), "container", frozenset([identity]))

    def plant_exec_root(self) -> Planted:
        self.undo.append(self.restore)
        since = time.time()
        self.engine.exec(self.names["ollama"], "0", ["sleep", "30"])
        return Planted("exec-root", since, "container", frozenset([self.id_of("ollama")]))

    def plant_host_network(self) -> Planted:
        return self.foreign("host-network", {"NetworkMode": "host"})

    def plant_host_pid(self) -> Planted:
        return self.foreign("host-pid", {"PidMode": "host"})

    def plant_host_mount(self) -> Planted:
        return self.foreign("host-mount", {"Binds": ["/:/h"]})

    def plant_host_volume(self) -> Planted:
        """The host's root behind the name of a volume."""
        name = f"{PREFIX}-volume"
        options = {"type": "none", "o": "bind", "device": "/"}
        self.undo.append(lambda: self.engine.remove_volume(name))
        self.engine.by_hand("/volumes/create", {"Name": name, "Driver": "local", "DriverOpts": options})
        return self.foreign("host-volume", {"Binds": [f"{name}:/h"]})

    def plant_docker_socket(self) -> Planted:
        return self.foreign("docker-socket", {"Binds": [f"{self.engine.socket_path}:/var/run/docker.sock"]})

    def plant_stranger(self) -> Planted:
        return self.foreign("stranger", {"NetworkMode": f"container:{self.names['relay']}"})

    def plant_native_server(self) -> Planted:
        program = self.directory / "ollama"
        if not program.exists():
            shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        return self.spawn("native-server", [str(program), "60"])

    def plant_listener(self) -> Planted:
        code = "import socket, time; s = socket.create_server(('::', 11434), family=socket.AF_INET6); time.sleep(60)"
        return self.spawn("listener", [sys.executable, "-S", "-c", code])

    # --- what came of it ----------------------------------------------------------------------------------
    def catch(self, planted: Planted, seconds: float = 10.0) -> Caught:
        """Wait for the containment of a breach."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = self.answers.get(timeout=0.1)
            except queue.Empty:
                continue
            target = answer.get("target", {})
            subject = str(target.get("container", target.get("pid")))
            if answer.get("outcome") == "done" and answer["verb"] == planted.verb and subject in planted.targets:
                return Caught(planted.kind, max(0.0, answer["time"] - planted.since), answer["code"])
        return Caught(planted.kind, None, "")

    def restore(self) -> None:
        """Start our containers as they should be."""
        for role in ROLES:
            self.start(role)

    def tidy(self) -> None:
        """Take back what the last breach left, and let the watch see that all is well."""
        dirty = bool(self.undo)
        while self.undo:
            with contextlib.suppress(EngineError, OSError):
                self.undo.pop()()
        if dirty and "sensor" in self.processes:
            time.sleep(0.7)

    def requests(self) -> Iterator[dict[str, Any]]:
        """What the sensor asked for since this was last called, about our own things."""
        while True:
            try:
                answer = self.answers.get_nowait()
            except queue.Empty:
                return
            if "verb" in answer and answer["reason"] != "not the test's own":
                yield answer

    def log(self) -> list[dict[str, Any]]:
        """The lines of the sensor's log."""
        path = self.directory / "out" / "watch.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def metrics(self) -> str:
        """The sensor's figures."""
        path = self.directory / "metrics" / "rampart_watch.prom"
        return path.read_text() if path.exists() else ""


KINDS = (
    "network-connect",
    "interface-by-hand",
    "capabilities",
    "exec-root",
    "host-network",
    "host-pid",
    "host-mount",
    "host-volume",
    "docker-socket",
    "stranger",
    "native-server",
    "listener",
)
