# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I4: the whole list: renamed containers, networks and members, a second server, a download, firewall, egress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import isolation_egress
from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import ROLES, check_ids
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_inquiry import ask

sys.path.insert(0, str(Path(__file__).parent))

from survey_rig import Rig, ids

pytestmark = pytest.mark.row("I4")
RELAY, OLLAMA, GATEWAY, FETCHER, EGRESS = 100, 200, 300, 400, 500


@pytest.fixture
def rig(proc: Any, inspector: Any, tmp_path: Path) -> Rig:
    return Rig(proc, inspector, tmp_path)


def not_passed(found: dict[str, Any]) -> dict[str, str]:
    return {name: status for name, status in found["by_id"].items() if status != "passed" and "apparmor" not in name}


def test_a_hardened_host_passes_the_whole_survey(rig: Rig) -> None:
    found = rig.look({"firewall": True})
    # This made-up kernel has no AppArmor; the verdict does without it.
    assert not_passed(found) == {"cis-5-2": "unknown"}
    assert (found["findings"], found["verdict"]) == ([], "passed")
    assert found["facts"]["egress"] is None
    assert found["facts"]["second_servers"] == []
    assert found["facts"]["firewall"]["policies"] == {"input": "drop", "forward": "drop"}


@pytest.mark.parametrize("role", ROLES)
def test_a_renamed_container_is_looked_at_and_reported_absent_under_its_name(rig: Rig, role: str) -> None:
    rig.engine.rename("rampart-" + role, "elsewhere")
    found = rig.look()
    assert "ISO-CONTAINER-ABSENT" in found["codes"]
    assert found["by_id"][role + "-running"] == "failed"
    assert found["facts"]["containers"][role]["name"] == "elsewhere"
    assert found["by_id"][role + "-uid"] == "passed"
    rig.proc.status({"relay": RELAY, "ollama": OLLAMA, "gateway": GATEWAY}[role], uid=0)
    assert rig.look()["by_id"][role + "-uid"] == "failed"


def test_without_its_label_it_is_found_by_its_image_and_else_reported_absent(rig: Rig) -> None:
    one = rig.engine.rename("rampart-gateway", "elsewhere")
    one["Config"]["Labels"] = {}
    one["Image"] = "sha256:" + "b" * 64
    found = rig.look(images={"gateway": one["Image"]})
    assert (found["facts"]["containers"]["gateway"]["name"], found["by_id"]["gateway-uid"]) == ("elsewhere", "passed")
    found = rig.look()
    assert found["facts"]["containers"]["gateway"] == {"name": "rampart-gateway", "running": False}
    assert {found["by_id"][check_id] for check_id in check_ids("gateway")} == {"unknown"}


def test_of_two_containers_with_the_label_none_is_taken_for_ours(rig: Rig) -> None:
    rig.engine.add("two", 999, "gateway")
    rig.engine.rename("rampart-gateway", "one")
    found = rig.look()
    assert found["facts"]["containers"]["gateway"]["running"] is False
    assert found["by_id"]["gateway-uid"] == "unknown"


def test_an_engine_that_names_another_containers_process_is_contradicted_by_the_kernel(rig: Rig) -> None:
    """A lie that would have the open gateway judged by the hardened server: unknown, and said so."""
    rig.proc.open_up(GATEWAY)
    rig.engine.described["rampart-gateway"]["State"]["Pid"] = OLLAMA
    found = rig.look()
    assert {found["by_id"][check_id] for check_id in check_ids("gateway")} == {"unknown"}
    assert found["by_id"]["gateway-running"] == "unknown"
    assert found["verdict"] == "failed"
    assert "ISO-PROBE-FAILED" in found["codes"]


def test_networks_show_their_members_and_which_are_ours(rig: Rig) -> None:
    rig.engine.add("stranger", 999, None)["NetworkSettings"]["Networks"] = {"bridge": {}}
    facts = rig.look()["facts"]
    bridge = next(item for item in facts["networks"] if item["name"] == "bridge")
    assert bridge == {"name": "bridge", "driver": "bridge", "internal": False, "members": ["stranger"], "ours": []}
    rig.engine.described["rampart-gateway"]["NetworkSettings"]["Networks"] = {"bridge": {}}
    found = rig.look()
    bridge = next(item for item in found["facts"]["networks"] if item["name"] == "bridge")
    assert bridge["ours"] == ["gateway"]
    assert found["by_id"]["isolation-networks"] == "failed"
    assert "ISO-NETWORK-MODE" in found["codes"]


def test_a_second_server_is_named_whatever_its_name_and_port(rig: Rig) -> None:
    image = "sha256:" + "c" * 64
    rig.engine.described["rampart-ollama"].update({"Image": image})
    rig.engine.add("innocent", GATEWAY, None)["Image"] = image
    found = rig.look(images={"ollama": image})
    assert found["facts"]["second_servers"] == ["innocent"]
    assert found["by_id"]["isolation-no-second-server"] == "failed"
    rig.engine.described["innocent"]["State"]["Running"] = False
    assert rig.look(images={"ollama": image})["by_id"]["isolation-no-second-server"] == "passed"


def a_download(rig: Rig) -> None:
    """Start a fetcher and the way out as the roles do."""
    places = {
        FETCHER: (10003, 41, [("8:1", "/q", "/quarantine", "rw"), ("0:21", "/e", "/run/egress", "ro")]),
        EGRESS: (10004, 42, [("8:1", "/c", "/etc/rampart-egress", "ro"), ("8:1", "/l", "/var/log/squid", "rw")]),
    }
    for pid, (uid, net, binds) in places.items():
        namespaces = {"net": net, "pid": pid + 2, "ipc": pid + 3, "uts": pid + 4, "mnt": pid + 5}
        base = (rig.proc.root / str(GATEWAY) / "mountinfo").read_text().splitlines()
        mounts = [line for line in base if " /etc/gateway " not in line]
        mounts += [f"30 10 {dev} {root} {point} {mode} - ext4 /dev/sda1 rw" for dev, root, point, mode in binds]
        rig.proc.process(str(pid), uid=uid, namespaces=namespaces, comm="x", mounts=mounts)
        rig.cgroup(pid, pid)
    rig.engine.add("rampart-fetcher", FETCHER, "fetcher", RestartPolicy={"Name": "no"})
    egress = rig.engine.add("rampart-egress", EGRESS, "egress", RestartPolicy={"Name": "no"})
    egress["HostConfig"]["NetworkMode"] = "rampart-egress"
    egress["NetworkSettings"]["Networks"] = {"rampart-egress": {}}
    rig.proc.interfaces(EGRESS, "lo", "eth0")


def test_the_containers_of_a_download_are_looked_at_while_they_run(rig: Rig) -> None:
    assert "fetcher-uid" not in rig.look()["by_id"]
    a_download(rig)
    found = rig.look()
    assert not_passed(found) == {"cis-5-2": "unknown"}
    assert {item["role"] for item in found["facts"]["transient"]} == {"fetcher", "egress"}
    # The way out has an interface by design; the fetcher must not have one.
    assert "egress-no-interface-but-lo" not in found["by_id"]
    rig.proc.interfaces(FETCHER, "lo", "eth0")
    rig.proc.status(EGRESS, uid=0)
    found = rig.look()
    assert found["by_id"]["fetcher-no-interface-but-lo"] == "failed"
    assert found["by_id"]["egress-uid"] == "failed"
    assert found["codes"] == {"ISO-INTERFACE", "ISO-ROOT-UID"}


def test_the_way_out_is_a_member_of_one_network_alone(rig: Rig) -> None:
    a_download(rig)
    rig.engine.described["rampart-egress"]["NetworkSettings"]["Networks"]["bridge"] = {}
    found = rig.look()
    assert found["by_id"]["isolation-networks"] == "failed"
    assert found["by_id"]["cis-5-30"] == "failed"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((1, "", "nft: Permission denied"), "unknown"),
        ((0, "garbage", ""), "unknown"),
        ((0, '{"nftables": [7]}', ""), "unknown"),
        ((1, "", "Error: No such file or directory"), "failed"),
        ((0, '{"nftables": [{"chain": {"name": "input", "hook": "input", "policy": "accept"}}]}', ""), "failed"),
        ((0, "[" * 100000, ""), "unknown"),
    ],
)
def test_the_firewall_is_there_and_drops_or_is_unknown(rig: Rig, answer: Any, status: str) -> None:
    rig.nft = answer
    found = rig.look({"firewall": True})
    assert found["by_id"]["isolation-firewall"] == status
    assert "isolation-firewall" not in rig.look()["by_id"]


def test_every_attempt_to_get_out_has_to_be_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in this very process: what gets out fails, what proves nothing is unknown."""
    outcomes = {"tcp": ("refused", "ENETUNREACH"), "udp": ("succeeded", "a packet left"), "dns": ("error", "no family")}
    monkeypatch.setattr(isolation_egress, "in_child", lambda function, *_rest: function())
    kinds = {"ipv4": "tcp", "udp": "udp", "dns": "dns"}
    attempts = [(name, (lambda _given, kind=kind: outcomes[kind]), {}) for name, kind in kinds.items()]
    monkeypatch.setattr(isolation_egress, "ATTEMPTS", attempts)
    found = rig.look({"egress": True})
    expected = {"ipv4": "passed", "udp": "failed", "dns": "unknown"}
    assert {name: found["by_id"]["ollama-egress-" + name] for name in expected} == expected
    assert found["facts"]["egress"]["gateway"]["udp"] == "succeeded: a packet left"
    assert "ATTACK-SUCCEEDED" in found["codes"]
    rig.engine.described["rampart-gateway"]["State"]["Running"] = False
    assert rig.look({"egress": True})["by_id"]["gateway-egress-ipv4"] == "unknown"


def test_no_attempt_is_made_unless_it_is_asked_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_egress, "in_child", lambda *_rest: pytest.fail("an attempt was made"))
    assert not any("egress" in name for name in rig.look()["by_id"])


def test_docker_down_is_one_finding_and_the_host_is_still_looked_at(rig: Rig) -> None:
    def refuse(*_rest: Any, **_more: Any) -> Any:
        raise EngineError("ENGINE-DOWN", "no Docker Engine answers")

    for name in ("container_or_none", "containers", "networks", "info"):
        setattr(rig.engine, name, refuse)
    rig.nft = (0, '{"nftables": [{"chain": {"name": "input", "hook": "input", "policy": "accept"}}]}', "")
    found = rig.look({"firewall": True})
    assert {"ISO-ENGINE-DOWN"} == {code for code in found["codes"] if code.startswith("ISO-")}
    assert found["by_id"]["isolation-networks"] == "unknown"
    assert found["by_id"]["isolation-no-native-ollama"] == "passed"
    assert found["by_id"]["isolation-firewall"] == "failed"
    assert found["facts"]["networks"] is None
    assert {row["status"] for row in found["cis"]} <= {"unknown", "explained"}


def test_an_engine_that_will_not_list_is_unknown_where_the_list_is_needed(rig: Rig) -> None:
    def odd(**_more: Any) -> Any:
        raise EngineError("ENGINE-ERROR", "answered no list")

    rig.engine.containers = odd
    found = rig.look()
    assert found["by_id"]["isolation-networks"] == "unknown"
    assert found["by_id"]["ollama-uid"] == "passed"
    assert found["codes"] == {"ISO-PROBE-FAILED"}


def test_an_ipv6_only_host_is_judged_by_its_ipv6(rig: Rig, line: Any) -> None:
    """No IPv4 route and no IPv4 listener; the kernel's IPv4 table is there and empty."""
    for pid in (1, RELAY, OLLAMA, GATEWAY):
        rig.proc.sockets(pid, "tcp")
    for pid in (RELAY, OLLAMA):
        rig.proc.sockets(pid, "tcp6", line("::1", 11434, "::"))
    assert rig.look()["verdict"] == "passed"
    rig.proc.sockets(1, "tcp6", line("2001:db8::1", 11434, "::"))
    found = rig.look()
    assert found["codes"] == {"ISO-LISTENER"}


def test_userns_remap_shifts_no_fact(rig: Rig) -> None:
    for pid, uid in ((RELAY, 10005), (OLLAMA, 10001), (GATEWAY, 10002)):
        rig.proc.status(pid, uid=100000 + uid, gid=100000 + uid)
        rig.proc.write(pid, "uid_map", "         0     100000      65536\n")
        rig.proc.write(pid, "gid_map", "         0     100000      65536\n")
    found = rig.look()
    assert found["verdict"] == "passed"
    assert found["facts"]["containers"]["ollama"]["uids"] == [10001]


def test_counters_without_a_socket_spare_the_table_and_any_other_reads_it(rig: Rig, line: Any) -> None:
    rig.proc.process("400", uid=1000, namespaces={"net": 40, "pid": 900, "ipc": 1, "uts": 1, "mnt": 1}, comm="x")
    rig.proc.sockets("400", "tcp", line("0.0.0.0", 11434))
    for text in ("TCP: inuse 1 orphan 0\n", "garbage", "", "TCP: inuse 01\n", "x TCP: inuse 0 \n"):
        rig.proc.write("400", "net/sockstat", text)
        assert rig.look()["codes"] == {"ISO-LISTENER"}, text


def test_the_inquiry_asks_each_thing_once_in_a_child(rig: Rig) -> None:
    answers = ask(rig.engine, {"relay": "rampart-relay"})
    assert rig.engine.asked == []
    assert answers.swarm == "inactive"
    assert {item.name for item in answers.running or []} == {"rampart-relay", "rampart-ollama", "rampart-gateway"}
    assert answers.inspected["rampart-relay"]["Id"] == ids(1)
