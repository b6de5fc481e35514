# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: an attack was seen when somebody else's counter or log says so, and only then."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.attack import Attack
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import Place
from ansible_collections.rampart.ollama.plugins.module_utils.attack_run import run_attacks
from ansible_collections.rampart.ollama.plugins.module_utils.attack_traces import Traces, heard_check, resolve
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

SNMP = "Ip: Forwarding OutNoRoutes InHdr\nIp: 1 {0} 3\nTcp: A\nTcp: 1\n"
SNMP6 = "Ip6InReceives 5\nIp6OutNoRoutes {0}\n"


def attack(*seen_by: dict[str, str], **more: Any) -> Attack:
    data = {"id": "a-b", "tries": "t", "function": "gain_root", "origins": ["server"], "refusal": ["EPERM"]}
    return Attack.from_dict({**data, "seen_by": list(seen_by), **more})


def traces(proc: Any = None, pid: int | None = None, **more: Any) -> Traces:
    root = ProcFS(str(proc.root)) if proc else ProcFS()
    given = {"squid_log": "/none", "watch_figures": "/none", "nft": ("/none",), "patience": 0.2, **more}
    return Traces(root, pid, **given)


def judged(reader: Traces, one: Attack, change: Any) -> tuple[str, str]:
    before = reader.marks(one.seen_by)
    change()
    return reader.seen(one, before, {})


@pytest.mark.parametrize(("four", "six", "seen"), [(8, 2, "seen"), (7, 3, "seen"), (7, 2, "not seen")])
def test_a_counter_of_the_kernel_has_to_rise(proc: Any, four: int, six: int, seen: str) -> None:
    proc.write("7", "net/snmp", SNMP.format(7))
    proc.write("7", "net/snmp6", SNMP6.format(2))

    def change() -> None:
        proc.write("7", "net/snmp", SNMP.format(four))
        proc.write("7", "net/snmp6", SNMP6.format(six))

    assert judged(traces(proc, 7), attack({"kernel": "OutNoRoutes"}), change)[0] == seen


@pytest.mark.parametrize("text", ["", "Ip: OutNoRoutes\nIp: x\n", "Ip: OutNoRoutes\nIp:\n", "rubbish\n" * 1000])
def test_garbage_for_a_counter_is_unknown(proc: Any, text: str) -> None:
    proc.write("7", "net/snmp", text)
    assert judged(traces(proc, 7), attack({"kernel": "OutNoRoutes"}), lambda: None)[0] == "unknown"


def nft(tmp_path: Path, packets: Any) -> tuple[str, ...]:
    rules = [
        {"metainfo": {}},
        {"rule": {"chain": "input", "expr": [{"counter": {"packets": 999}}]}},
        {"rule": {"chain": "refused", "expr": [{"counter": {"packets": packets}}, {"drop": None}]}},
    ]
    (tmp_path / "nft.json").write_text(json.dumps({"nftables": rules}))
    return (sys.executable, "-c", f"print(open({str(tmp_path / 'nft.json')!r}).read())")


@pytest.mark.parametrize(("after", "seen"), [(6, "seen"), (5, "not seen"), ("x", "unknown")])
def test_the_counters_of_one_chain_are_read(tmp_path: Path, after: Any, seen: str) -> None:
    reader = traces(nft=nft(tmp_path, 5))
    assert judged(reader, attack({"nft": "refused"}), lambda: nft(tmp_path, after))[0] == seen


@pytest.mark.parametrize("output", ["", "{}", "[]", '{"nftables": 3}', "x"])
def test_a_firewall_that_cannot_be_read_is_unknown(output: str) -> None:
    reader = traces(nft=(sys.executable, "-c", f"print({output!r})"))
    assert judged(reader, attack({"nft": "refused"}), lambda: None)[0] == "unknown"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('{"result": "TCP_DENIED"}', "seen"),
        ('{"result": "TCP_TUNNEL", "ssl_bump": "splice"}', "not seen"),
        ('{"result": "NONE_NONE", "ssl_bump": "DENIED"}', "seen"),
        ("DENIED, but no JSON", "not seen"),
        ('["DENIED"]', "not seen"),
    ],
)
def test_only_new_lines_of_the_proxys_log_count(tmp_path: Path, line: str, seen: str) -> None:
    """I6: what was refused before the attack is no trace of it."""
    log = tmp_path / "access.json"
    log.write_text('{"result": "TCP_DENIED"}\n')

    def change() -> None:
        with log.open("a") as stream:
            stream.write(line + "\n")

    assert judged(traces(squid_log=str(log)), attack({"squid": "DENIED"}), change)[0] == seen


FIGURES = """# TYPE rampart_watch_up gauge
rampart_watch_up {0}
rampart_watch_drops_total{{prefix="rampart-input-refused"}} {1}
rampart_watch_drops_total{{prefix="rampart-forward-refused"}} {2}
rampart_watch_dropsy_total{{prefix="x"}} 99
"""


# Two that the firewall counts, one that was not tried, one that leaves its trace elsewhere.
FOUR = [
    {"id": "a", "outcome": "refused", "seen_by": ["nft:input_refused"]},
    {"id": "b", "outcome": "refused", "seen_by": ["nft:forward_refused", "nft:input_refused"]},
    {"id": "c", "outcome": "error", "seen_by": ["nft:input_refused"]},
    {"id": "d", "outcome": "refused", "seen_by": ["kernel:OutNoRoutes"]},
]


@pytest.mark.parametrize(
    ("after", "heard"),
    [
        ((1, 7, 2), "passed"),
        ((1, 5, 2), "passed"),
        # Some noise of the network is not two attacks.
        ((1, 6, 0), "failed"),
        ((1, 5, 0), "failed"),
        # Started anew meanwhile: what it counts since is what it heard.
        ((1, 1, 1), "passed"),
        ((1, 0, 0), "failed"),
        # It ended in order: the figures are of before.
        ((0, 7, 2), "unknown"),
    ],
)
def test_the_watch_says_what_it_heard_of(tmp_path: Path, after: tuple[int, int, int], heard: str) -> None:
    """I5, I6: the attacks of a neighbour come to the watch's ears, not only to a counter."""
    figures = tmp_path / "rampart_watch.prom"
    figures.write_text(FIGURES.format(1, 5, 0))
    reader = traces(watch_figures=str(figures))
    before = reader.marks([("watch", "drops")])
    assert before == {"watch:drops": 5}
    figures.write_text(FIGURES.format(*after))
    told = heard_check(reader, before, FOUR, 0.1)
    assert told is not None
    assert (told.id, told.status) == ("attack-neighbour-heard", heard)


def test_without_a_watch_what_it_heard_is_unknown_and_another_trace_suffices(proc: Any) -> None:
    told = heard_check(traces(), {"watch:drops": 0}, FOUR)
    assert told is not None
    assert told.status == "unknown"
    assert heard_check(traces(), {"nft:input_refused": 0}, FOUR) is None
    proc.write("7", "net/snmp", SNMP.format(7))
    both = attack({"watch": "drops"}, {"kernel": "OutNoRoutes"})
    seen, text = judged(traces(proc, 7), both, lambda: proc.write("7", "net/snmp", SNMP.format(9)))
    assert (seen, text) == ("seen", "kernel OutNoRoutes +2")


def test_a_log_that_was_turned_over_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "access.json"
    log.write_text("x" * 1000 + "\n")

    def change() -> None:
        log.write_text('{"result": "TCP_DENIED"}\n')

    assert judged(traces(squid_log=str(log)), attack({"squid": "DENIED"}), change)[0] == "seen"


def test_what_a_bomb_counted_itself_is_its_trace() -> None:
    one = attack({"counted": "pids"})
    assert traces().seen(one, {}, {"pids": 3}) == ("seen", "counted pids +3")
    assert traces().seen(one, {}, {"pids": 0})[0] == "not seen"
    assert traces().seen(one, {}, {})[0] == "unknown"


class Refusing(Place):
    """A place where everything ends the same way."""

    def attempt(self, function: str, parameters: dict[str, Any], seconds: float) -> Any:
        return "refused", "setresuid: EPERM"


def test_a_refusal_that_leaves_no_trace_is_said_with_its_reason(proc: Any) -> None:
    proc.write("7", "net/snmp", SNMP.format(7))
    quiet = attack({"kernel": "OutNoRoutes"}, not_observable_if={"EPERM": "nothing counts this"})
    loud = attack({"kernel": "OutNoRoutes"})
    seen = [run_attacks("server", [one], {}, 1.0, Refusing(), traces(proc, 7))[0]["seen"] for one in (quiet, loud)]
    assert seen == ["not observable", "not seen"]
    silent = Attack.from_dict({**vars(loud), "seen_by": [], "targets": {}, "parameters": {}, "not_observable_if": {}})
    assert run_attacks("server", [silent], {}, 1.0, Refusing(), traces(proc, 7))[0]["seen"] == "not observable"


# --- for a neighbour, read on the host ------------------------------------------------------------------------------
def row(name: str, outcome: str = "refused", seen: str = "unknown") -> dict[str, Any]:
    return {"id": name, "outcome": outcome, "seen": seen, "trace": "", "seen_by": ["nft:refused"]}


@pytest.mark.parametrize(("after", "seen"), [(7, "seen"), (6, "not seen"), (5, "not seen")])
def test_a_shared_counter_has_to_rise_once_for_each_attack(tmp_path: Path, after: int, seen: str) -> None:
    """I6: one dropped packet does not prove that two attacks were seen."""
    reader = traces(nft=nft(tmp_path, 5))
    before = reader.marks([("nft", "refused")])
    nft(tmp_path, after)
    results = resolve(reader, before, [row("a-b"), row("c-d"), row("e-f", "error"), row("g-h", seen="not observable")])
    assert [item["seen"] for item in results] == [seen, seen, "unknown", "not observable"]


def test_a_neighbours_trace_that_cannot_be_read_stays_unknown() -> None:
    results = resolve(
        traces(), {}, [row("a-b"), {"id": "x", "seen": "unknown", "outcome": "refused", "seen_by": ["y"]}]
    )
    assert [item["seen"] for item in results] == ["unknown", "unknown"]
