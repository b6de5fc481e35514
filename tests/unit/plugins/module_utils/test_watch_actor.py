# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor: what it does for whom, how often, what it leaves behind, and all that it refuses."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import watch_host
from watch_host import OTHER

from ansible_collections.rampart.ollama.plugins.module_utils import watch_actor
from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor import Actor, Server
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_config import load, parse
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_limits import Buckets
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_plan import ActError, Plan, RefusedError
from ansible_collections.rampart.ollama.plugins.module_utils.watch_protocol import Answer, Request, WatchError, call
from ansible_collections.rampart.ollama.plugins.module_utils.watch_records import read_record, record_names

pytestmark = pytest.mark.row("I5")
FINDING = Finding("ISO-INTERFACE", Severity.CRITICAL, "rampart-ollama", "interfaces: lo, eth0", "Disconnect it.")
PEER = {"pid": 42, "uid": 10007, "gid": 10007}


# --- limits -----------------------------------------------------------------------------------------------
def test_i5_tokens_are_spent_refilled_and_survive_a_restart(tmp_path: Path) -> None:
    made = watch_host.config(tmp_path)
    now = [1000.0]
    path = str(tmp_path / "limits.json")
    first = Buckets(path, made.limits, lambda: now[0])
    assert [first.take("host") for _unused in range(4)] == [True, True, True, False]
    again = Buckets(path, made.limits, lambda: now[0])
    assert not again.take("host")
    assert again.take("process")
    now[0] += 61
    assert again.take("host")
    assert not again.take("host")
    now[0] += 10**9
    assert again.left("host") == 3
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": [1e999, 0]}', '{"host": "full"}', '{"host": [true, 1]}'])
def test_i5_a_damaged_file_gives_no_tokens(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    made = Buckets(str(path), watch_host.config(tmp_path).limits, lambda: 1000.0)
    assert not made.take("host")


def test_i5_a_clock_that_jumps_gives_nothing(tmp_path: Path) -> None:
    now = [1000.0]
    made = Buckets(str(tmp_path / "limits.json"), watch_host.config(tmp_path).limits, lambda: now[0])
    while made.take("host"):
        pass
    now[0] = 10.0
    assert not made.take("host")
    assert not Buckets(made.path, made.limits, lambda: now[0]).take("host")
    now[0] += 61
    assert made.take("host")


# --- the actor --------------------------------------------------------------------------------------------
def actor(directory: Path, plan: Callable[[dict[str, Any]], Plan], **changes: Any) -> Actor:
    made = watch_host.config(directory, **changes)
    planners = dict.fromkeys(("network", "process", "container", "host"), plan)
    return Actor(made, planners, Buckets(str(directory / "state/limits.json"), made.limits))


def simple(done: list[str] | Exception, closed: list[int] | None = None) -> Callable[[dict[str, Any]], Plan]:
    def act() -> list[str]:
        if isinstance(done, Exception):
            raise done
        return done

    return lambda _target: Plan(
        ["seen"], {"was": 1}, {"action": "none"}, act, lambda: closed.append(1) if closed is not None else None
    )


HOST_REQUEST = Request("host", {}, FINDING)


def test_i5_an_act_leaves_a_record_that_says_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[int] = []
    made = actor(tmp_path, simple(["did it"], closed))
    answer = made.handle(HOST_REQUEST, PEER)
    assert (answer.outcome, answer.reason) == ("done", "did it")
    directory = made.config.records
    assert record_names(directory) == [answer.record]
    record = read_record(directory, str(answer.record))
    assert record["asked_by"] == PEER
    assert record["finding"] == FINDING.as_dict()
    assert (record["checked"], record["before"], record["done"]) == (["seen"], {"was": 1}, ["did it"])
    assert (record["outcome"], record["released"]) == ("done", None)
    assert stat.S_IMODE(os.stat(os.path.join(directory, str(answer.record))).st_mode) == 0o600
    assert closed == [1]
    assert "WATCH-ACT-DONE: host: did it" in capsys.readouterr().out


@pytest.mark.parametrize("error", [ActError("half", ["a"]), EngineError("ENGINE-DOWN", "gone"), OSError(5, "io")])
def test_i5_an_act_that_failed_is_recorded_as_failed(tmp_path: Path, error: Exception) -> None:
    made = actor(tmp_path, simple(error))
    answer = made.handle(HOST_REQUEST, PEER)
    assert answer.outcome == "failed"
    assert read_record(made.config.records, str(answer.record))["outcome"] == "failed"


def test_i5_beyond_the_limit_nothing_is_done_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = actor(tmp_path, simple(["did it"]))
    answers = [made.handle(HOST_REQUEST, PEER) for _unused in range(5)]
    assert [item.outcome for item in answers] == ["done"] * 3 + ["refused"] * 2
    assert len(record_names(made.config.records)) == 3
    assert "WATCH-ACT-REFUSED: host: the limit of this verb is reached" in capsys.readouterr().out
    # Another verb has a bucket of its own.
    assert made.handle(Request("process", {"pid": 7, "start_time": 1}, FINDING), PEER).outcome == "done"


def test_i5_a_refusal_costs_no_token_and_leaves_no_record(tmp_path: Path) -> None:
    def refuse(_target: dict[str, Any]) -> Plan:
        raise RefusedError("no reason")

    made = actor(tmp_path, refuse)
    for _unused in range(10):
        assert made.handle(HOST_REQUEST, PEER).outcome == "refused"
    assert record_names(made.config.records) == []
    assert made.buckets.left("host") == 3


def test_i5_a_full_disk_does_not_stop_containment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    did: list[str] = []
    made = actor(tmp_path, lambda _t: Plan([], {}, {"action": "none"}, lambda: did.append("x") or ["did it"]))
    os.rmdir(made.config.records)
    Path(made.config.records).write_text("in the way")
    answer = made.handle(HOST_REQUEST, PEER)
    assert (answer.outcome, answer.record, did) == ("done", None, ["x"])
    assert "WATCH-RECORD-LOST" in capsys.readouterr().out


def test_i5_whatever_breaks_is_an_answer_and_no_end(tmp_path: Path) -> None:
    def broken(_target: dict[str, Any]) -> Plan:
        raise KeyError("surprise")

    assert actor(tmp_path, broken).handle(HOST_REQUEST, PEER).outcome == "failed"


def test_i5_a_hung_engine_blocks_its_verb_and_no_other(tmp_path: Path) -> None:
    hold = threading.Event()

    def hang(_target: dict[str, Any]) -> Plan:
        hold.wait(20)
        raise EngineError("ENGINE-ERROR", "did not answer", timed_out=True)

    made = actor(tmp_path, simple(["did it"]))
    made.planners["container"] = hang
    wanted = Request("container", {"container": OTHER}, FINDING)
    places = range(watch_actor.PLACES_PER_VERB)
    threads = [threading.Thread(target=made.handle, args=(wanted, PEER)) for _place in places]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert made.handle(wanted, PEER).reason.startswith("all 4 places")
    assert made.handle(HOST_REQUEST, PEER).outcome == "done"
    hold.set()
    for thread in threads:
        thread.join()
    made.planners["container"] = simple(["did it"])
    assert made.handle(wanted, PEER).outcome == "done"


# --- the socket -------------------------------------------------------------------------------------------
@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., str]]:
    running: list[tuple[Server, threading.Thread]] = []

    def serve(uid: int) -> str:
        path = str(tmp_path / "a.sock")
        server = Server(actor(tmp_path, simple(["did it"])), path, uid)
        server.open()
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return path

    yield serve
    for server, thread in running:
        server.stopping.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not os.path.exists(server.path)


def test_i5_the_sensors_account_is_served(served: Callable[..., str]) -> None:
    path = served(os.geteuid())
    assert call(path, HOST_REQUEST, 5).outcome == "done"
    assert os.stat(path).st_mode & 0o777 == 0o660


def test_i5_no_other_account_is_served_not_even_root(served: Callable[..., str], tmp_path: Path) -> None:
    path = served(os.geteuid() + 1)
    with pytest.raises(WatchError) as caught:
        call(path, HOST_REQUEST, 5)
    assert caught.value.code == "WATCH-ACTOR-DOWN"
    assert record_names(str(tmp_path / "state/contained")) == []


def test_i5_hostile_messages_are_answered_and_leave_the_actor_alive(served: Callable[..., str]) -> None:
    path = served(os.geteuid())
    for data in (b"{", b"[" * 4096, b"x" * 5000, b"\0", b'{"schema":1}'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(5)
            client.connect(path)
            client.send(data)
            assert Answer.decode(client.recv(5000)).outcome == "refused"
    assert call(path, HOST_REQUEST, 5).outcome == "done"


def test_i5_silent_connections_are_bounded_and_end(served: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_actor, "REQUEST_SECONDS", 0.5)
    path = served(os.geteuid())
    idle = []
    for _number in range(watch_actor.CONNECTIONS_MAX + 10):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(path)
        idle.append(client)
    time.sleep(1.0)
    assert call(path, HOST_REQUEST, 5).outcome == "done"
    for client in idle:
        client.close()


# --- configuration ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"extra": 1},
        {"sensor_uid": 0},
        {"sensor_uid": True},
        {"stop_grace_seconds": 3},
        {"engine_timeout": 0},
        {"socket": "run/a.sock"},
        {"socket": "/run/../a.sock"},
        {"server": "rampart-nobody"},
        {"protected_paths": "/"},
        {"limits": {"host": {"burst": 1, "per_hour": 1}}},
        {"guarded": {"rampart-ollama": {"networks": []}}},
        {"expected": {}},
    ],
)
def test_i5_a_configuration_that_is_none_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse(watch_host.document(tmp_path, **changes))


def test_i5_a_configuration_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "actor.json"
    path.write_text(json.dumps(watch_host.document(tmp_path)))
    path.chmod(0o644)
    assert load(str(path)).sensor_uid == 10007
    path.chmod(0o664)
    with pytest.raises(FindingError, match="WATCH-CONFIG"):
        load(str(path))
