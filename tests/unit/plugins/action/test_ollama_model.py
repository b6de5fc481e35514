# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a long download is visible, and otherwise nothing is different from running the module.

The host is fake: `Host` answers what Ansible would be answered by the module, its job and its progress file.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.rampart.ollama.plugins.action import ollama_model as action
from ansible_collections.rampart.ollama.plugins.plugin_utils import model_progress

pytestmark = pytest.mark.row("S2")
GIB = 1 << 30
DIGEST = "sha256:" + "a" * 64
RESULT = {"changed": True, "findings": [], "fetched": [DIGEST], "invocation": {"module_args": {"name": "x"}}}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Host:
    """What is on the other side: the module takes `takes` seconds and ends with `result`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 45.0
        self.result: dict[str, Any] = dict(RESULT)
        self.can_job = True
        self.lost: tuple[float, float] = (-1.0, -1.0)
        self.garbled: tuple[float, float] = (-1.0, -1.0)
        self.started_at: float | None = None
        self.files: set[str] = set()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.limits: list[int] = []
        self.resets = 0

    def progress(self) -> dict[str, Any] | None:
        """After 40 seconds everything is there, and the file goes away."""
        passed = self.clock.now - (self.started_at or 0)
        done = int(4 * GIB * passed / 40)
        return {"done": done, "total": 4 * GIB, "rate": 4 * GIB // 40} if passed < 40 else None

    def run(self, plugin: Any, name: str, arguments: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        self.calls.append((name, arguments))
        if self.lost[0] <= self.clock.now < self.lost[1]:
            raise AnsibleConnectionFailure("the host is gone")
        if name == "rampart.ollama.ollama_model":
            if not wrap_async:
                self.clock.now += self.takes
                return dict(self.result)
            self.limits.append(plugin._task.async_val)
            if not self.can_job:
                return {"failed": True, "msg": "could not create directory"}
            self.started_at = self.clock.now
            self.files.add("j1.2")
            file = "/root/.ansible_async/j1.2"
            return {"ansible_job_id": "j1.2", "results_file": file, "started": True, "changed": True}
        assert plugin._task.async_val == 0
        if name == "rampart.ollama.ollama_model_fetch_info":
            seen = self.progress()
            return {"changed": False, "findings": [], **({"progress": seen} if seen else {})}
        assert name == "ansible.legacy.async_status"
        assert (arguments["jid"], arguments["_async_dir"]) == ("j1.2", "/root/.ansible_async")
        if arguments.get("mode") == "cleanup":
            self.files.discard(arguments["jid"])
            return {"erased": True}
        if self.garbled[0] <= self.clock.now < self.garbled[1]:
            return {"failed": True, "msg": "Module result deserialization failed."}
        if self.started_at is None or arguments["jid"] not in self.files:
            return {"failed": True, "finished": True, "started": True, "msg": "could not find job"}
        if self.clock.now - self.started_at < self.takes:
            return {"started": True, "finished": False, "ansible_job_id": "j1.2", "results_file": "x"}
        return {**self.result, "finished": True, "ansible_job_id": "j1.2", "stderr": "a warning\n", "stderr_lines": []}


class Screen:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines: list[tuple[float, str]] = []

    def display(self, text: str) -> None:
        self.lines.append((self.clock.now, text))

    def vv(self, text: str) -> None:
        return


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(action, "time", made)
    return made


@pytest.fixture
def host(clock: Clock) -> Host:
    return Host(clock)


def plugin(host: Host, check: bool = False, async_val: int = 0, no_log: bool = False, **arguments: Any) -> Any:
    entry = {"reference": "mistral:7b", "digest": DIGEST, "blobs": [{"digest": DIGEST, "size": 4 * GIB}]}
    args = {"name": "mistral:7b", "approval": entry, "quarantine": "/q", "store": "/s", "timeout": 3600, **arguments}
    task = SimpleNamespace(
        args={key: value for key, value in args.items() if value is not None},
        action="rampart.ollama.ollama_model",
        async_val=async_val,
        check_mode=check,
        no_log=no_log,
    )

    def reset() -> None:
        host.resets += 1

    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None), reset=reset)

    class Tested(action.ActionModule):
        def _execute_module(
            self, module_name: Any = None, module_args: Any = None, task_vars: Any = None, wrap_async: Any = False
        ) -> Any:
            name, given = module_name or self._task.action, module_args or self._task.args
            return host.run(self, name, given, bool(wrap_async))

    made = Tested(task, connection, None, None, None)
    made._display = Screen(host.clock)
    return made


def run(made: Any) -> dict[str, Any]:
    result: dict[str, Any] = made.run(task_vars={"inventory_hostname": "h1"})
    return result


def modules(host: Host) -> set[str]:
    return {name.rpartition(".")[2] for name, _arguments in host.calls}


def test_s2_a_long_download_is_told_about_every_ten_seconds(host: Host) -> None:
    made = plugin(host)
    assert run(made) == RESULT
    lines = made._display.lines
    assert lines[0][1].startswith("[h1] mistral:7b: ")
    assert all("% of 4.00 GiB, 102.40 MiB/s, about " in text for _when, text in lines[:-1])
    assert lines[-1][1] == "[h1] mistral:7b: fetched, now copied into the store and hashed there"
    times = [when for when, _text in lines]
    assert all(10 <= later - earlier <= 16 for earlier, later in itertools.pairwise(times))
    assert len(lines) >= 3


def test_s2_a_short_one_is_not_talked_about(host: Host) -> None:
    host.takes = 8.0
    made = plugin(host)
    assert run(made) == RESULT
    assert made._display.lines == []
    assert "ollama_model_fetch_info" not in modules(host)


def test_s2_the_job_leaves_no_file_and_no_setting_behind(host: Host) -> None:
    made = plugin(host, timeout=100)
    run(made)
    assert host.files == set()
    assert made._task.async_val == 0
    # Its time is the fetch's and, amply, the publisher's: nobody kills it while it writes.
    assert host.limits == [100 + 24 * 3600]


@pytest.mark.parametrize(
    "result",
    [
        RESULT,
        {**RESULT, "changed": False, "diff": {"before": "", "after": "x"}, "warnings": ["w"]},
        {"failed": True, "msg": "FETCH-TLS: x", "findings": [{"code": "FETCH-TLS"}], "changed": False},
        {"failed": True, "msg": "boom", "data": "Traceback", "cmd": "python"},
    ],
)
def test_s2_results_and_failures_are_those_of_the_module(host: Host, result: dict[str, Any]) -> None:
    host.result = result
    watched = run(plugin(host))
    host.calls.clear()
    plain = run(plugin(host, progress=False))
    assert modules(host) == {"ollama_model"}
    if "data" not in result:
        assert watched == plain == result
    else:
        # A module that broke off: what it said on its way out is all there is.
        assert {key: value for key, value in watched.items() if not key.startswith("stderr")} == result


@pytest.mark.parametrize(
    "changes",
    [
        {"check": True},
        {"progress": False},
        {"progress": "no"},
        {"state": "absent"},
        {"source": "bundle", "src": "/b"},
        {"source": "file", "src": "/d"},
        {"no_log": True},
        {"approval": None},
        {"approval": "nonsense"},
        {"approval": {}},
        {"approval": {"blobs": "nonsense"}},
        {"approval": {"blobs": [1, {"size": "many"}, {"size": -5}, {"size": None}]}},
        {"approval": {"blobs": [{"size": 64 * 1024 * 1024 - 1}]}},
    ],
)
def test_s2_the_module_is_run_in_one_go_where_there_is_nothing_to_show(host: Host, changes: dict[str, Any]) -> None:
    made = plugin(host, **changes)
    assert run(made) == RESULT
    assert [name for name, _arguments in host.calls] == ["rampart.ollama.ollama_model"]
    assert host.limits == []
    assert made._display.lines == []


def test_s2_async_of_ones_own_stays_ones_own(host: Host) -> None:
    made = plugin(host, async_val=600)
    assert run(made)["ansible_job_id"] == "j1.2"
    assert host.limits == [600]
    assert made._task.async_val == 600
    assert host.files == {"j1.2"}


def test_s2_where_no_job_can_be_started_the_module_is_run_in_one_go(host: Host) -> None:
    host.can_job = False
    assert run(plugin(host)) == RESULT
    assert [name for name, _arguments in host.calls] == ["rampart.ollama.ollama_model"] * 2


def test_s2_a_connection_that_comes_back_is_used_again(host: Host) -> None:
    host.lost = (5.0, 60.0)
    host.takes = 100.0
    assert run(plugin(host)) == RESULT
    assert host.resets > 1
    assert host.files == set()


def test_s2_a_connection_that_does_not_come_back_is_an_error(host: Host) -> None:
    host.lost = (5.0, 1e9)
    with pytest.raises(AnsibleConnectionFailure):
        run(plugin(host))
    assert host.clock.now < 300


def test_s2_a_status_that_cannot_be_read_for_a_while_is_no_result(host: Host) -> None:
    host.garbled = (5.0, 30.0)
    assert run(plugin(host)) == RESULT


def test_s2_a_status_that_is_never_readable_ends(host: Host) -> None:
    host.garbled = (5.0, 1e9)
    with pytest.raises(AnsibleError, match="FETCH-JOB-LOST"):
        run(plugin(host))
    assert host.clock.now < 300


def test_s2_a_job_whose_file_is_gone_is_a_failure_not_a_success(host: Host) -> None:
    made = plugin(host)
    host.takes = 1e9
    ask = host.run

    def forgets(*arguments: Any) -> dict[str, Any]:
        if host.clock.now > 20:
            host.files.clear()
        return ask(*arguments)

    host.run = forgets  # type: ignore[method-assign]
    result = run(made)
    assert result["failed"]
    assert "could not find job" in result["msg"]


def test_s2_a_cleaning_up_that_fails_does_not_lose_the_result(host: Host) -> None:
    made = plugin(host)
    ask = host.run

    def loses(plugin: Any, name: str, arguments: dict[str, Any], wrap_async: bool) -> dict[str, Any]:
        if arguments.get("mode") == "cleanup":
            raise AnsibleConnectionFailure("gone")
        return ask(plugin, name, arguments, wrap_async)

    host.run = loses  # type: ignore[method-assign]
    assert run(made) == RESULT


@pytest.mark.parametrize("answer", [{"failed": True, "msg": "no"}, {"progress": "x"}, {}])
def test_s2_an_answer_without_progress_says_nothing(answer: dict[str, Any]) -> None:
    assert action.Lines("m", "h").about(answer) == ""


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ({"done": 0, "total": 4 * GIB, "rate": 0}, "m: 0 % of 4.00 GiB, nothing comes at present"),
        ({"done": GIB, "total": 4 * GIB, "rate": 1 << 25}, "m: 25 % of 4.00 GiB, 32.00 MiB/s, about 1 min 30 s left"),
        ({"done": 5 * GIB, "total": 4 * GIB, "rate": 1}, "m: 100 % of 4.00 GiB, all there"),
        ({"done": 0, "total": 0, "rate": 1}, "m: 100 % of 0 B, all there"),
        ({"done": -5, "total": 100, "rate": 50}, "m: 0 % of 100 B, 50 B/s, about 2 s left"),
    ],
)
def test_s2_a_line_says_what_a_person_wants_to_know(seen: dict[str, int], text: str) -> None:
    assert model_progress.line("m", seen) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (59.4, "59 s"), (60, "1 min 0 s"), (89, "1 min 20 s"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_s2_durations(seconds: float, text: str) -> None:
    assert model_progress.duration(seconds) == text
