# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1: after a restart of relay, engine or host the server is with its relay; a stopped one stays stopped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import server_order
from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.server_order import Order, keep

pytestmark = pytest.mark.row("I1")
ROOT = Path(__file__).resolve().parents[4]


class FakeEngine:
    """Two containers: what is done to them moves the server into the relay's namespace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done: list[str] = []
        self.fail: list[EngineError] = []
        self.containers: dict[str, Any] = {
            "relay": {"Id": "r1", "State": {"Running": True, "Pid": 10}},
            "server": {
                "Id": "s1",
                "State": {"Running": True, "Pid": 20},
                "HostConfig": {"NetworkMode": "container:r1"},
            },
        }
        self.namespace(10, "net:[1]")
        self.namespace(20, "net:[1]")

    def namespace(self, pid: int, name: str) -> None:
        link = self.root / str(pid) / "ns" / "net"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(name)

    def container_or_none(self, name: str) -> Any:
        if self.fail:
            raise self.fail.pop(0)
        return self.containers.get(name)

    def stop_container(self, name: str, grace_seconds: int) -> None:
        self.done.append("stop " + name)

    def start_container(self, name: str) -> None:
        self.done.append("start " + name)
        self.containers[name]["State"] = {"Running": True, "Pid": 20}
        self.namespace(20, (self.root / "10" / "ns" / "net").readlink().name)


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


def run(engine: Any, during: dict[int, Any] | None = None) -> tuple[bool, list[str]]:
    """Run to the end; `during` maps the number of a pause to what happens in it."""
    pauses = 0

    def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        (during or {}).get(pauses, lambda: None)()

    return keep(Order(engine, "relay", "server", str(engine.root)), pause=pause)


def test_a_server_in_its_place_is_left_alone(engine: FakeEngine) -> None:
    assert run(engine) == (True, ["the server is in the relay's namespace"])
    assert engine.done == []


def test_a_server_in_a_former_namespace_is_restarted(engine: FakeEngine) -> None:
    engine.namespace(10, "net:[2]")
    settled, said = run(engine)
    assert settled
    assert said[0].startswith("restarted the server")
    assert engine.done == ["stop server", "start server"]


def test_a_relay_that_restarts_a_second_time_is_followed(engine: FakeEngine) -> None:
    engine.namespace(10, "net:[2]")
    run(engine, {2: lambda: engine.namespace(10, "net:[3]")})
    assert engine.done == ["stop server", "start server"] * 2


def test_at_boot_the_relay_is_waited_for_and_a_server_tried_too_early_is_started(engine: FakeEngine) -> None:
    engine.containers["relay"]["State"] = {"Running": False}
    engine.containers["server"]["State"] = {"Running": False, "Error": "cannot join network of a non running container"}

    def up() -> None:
        engine.containers["relay"]["State"] = {"Running": True, "Pid": 10}

    settled, said = run(engine, {5: up})
    assert settled
    assert said[0].startswith("started the server")
    assert engine.done == ["start server"]


@pytest.mark.parametrize("who", ["server", "relay"])
def test_what_somebody_stopped_stays_stopped(engine: FakeEngine, who: str) -> None:
    """Containment stops a container; starting it again would undo that."""
    engine.containers[who]["State"] = {"Running": False, "Status": "exited", "Error": ""}
    engine.namespace(20, "net:[9]")
    settled, said = run(engine)
    assert settled
    assert engine.done == []
    assert said == ["left as it is: relay or server is stopped"]


def test_a_container_the_engine_is_restarting_is_not_started_beside_it(engine: FakeEngine) -> None:
    engine.containers["server"]["State"] = {"Running": False, "Restarting": True, "Error": "x"}
    run(engine)
    assert engine.done == []


@pytest.mark.parametrize("mode", ["container:r0", "host", "bridge", None, 7])
def test_a_server_of_another_relay_or_network_is_not_touched(engine: FakeEngine, mode: Any) -> None:
    engine.containers["server"]["HostConfig"]["NetworkMode"] = mode
    engine.namespace(20, "net:[9]")
    assert run(engine) == (True, ["the server belongs to another relay"])
    assert engine.done == []


def test_an_engine_that_comes_back_is_waited_for_and_one_that_does_not_is_said(engine: FakeEngine) -> None:
    down = EngineError("ENGINE-DOWN", "no Docker Engine answers")
    engine.fail = [down] * 5
    assert run(engine)[0]
    engine.fail = [down] * 1000
    settled, said = run(engine)
    assert not settled
    assert said[-1].startswith("ENGINE-DOWN")


@pytest.mark.parametrize(
    "state", [None, "x", [], {"Running": True}, {"Running": True, "Pid": "../1"}, {"Running": "yes"}]
)
def test_an_answer_without_shape_changes_nothing(engine: FakeEngine, state: Any) -> None:
    engine.containers["relay"]["State"] = state
    assert run(engine)[0]
    assert engine.done == []


def test_it_starts_as_the_unit_starts_it(tmp_path: Path) -> None:
    """Isolated, from a directory, with nothing but the files that the role copies."""
    package = tmp_path / "order" / "rampart_order"
    package.mkdir(parents=True)
    utils = Path(server_order.__file__).parent
    for name in ("engine.py", "findings.py", "server_order.py"):
        shutil.copy(utils / name, package / name)
    shutil.copy(ROOT / "roles/ollama/files/order_main.py", tmp_path / "order" / "__main__.py")
    done = subprocess.run(
        [sys.executable, "-IB", str(tmp_path / "order")], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (2, "usage: RELAY SERVER SOCKET\n")
