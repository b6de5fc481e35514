# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows I1, I4: the container section of the CIS benchmark: what breaks an item fails it, by its number."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.isolation_cis_items import EXPLANATIONS, ITEMS

sys.path.insert(0, str(Path(__file__).parent))

from survey_rig import Rig, ids

pytestmark = pytest.mark.row("I1")
OLLAMA, GATEWAY = 200, 300
STATUSES = ("passed", "explained", "unknown", "failed")
BIND = {"Type": "bind", "Source": "/etc/", "Destination": "/e", "Propagation": "rprivate"}


@pytest.fixture
def rig(proc: Any, inspector: Any, tmp_path: Path) -> Rig:
    return Rig(proc, inspector, tmp_path)


def rows(found: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["status"] for row in found["cis"]}


def test_the_section_is_whole_and_each_row_is_a_check(rig: Rig) -> None:
    assert [item.number for item in ITEMS] == ["5.{0}".format(number) for number in range(1, 33)]
    assert len({item.title for item in ITEMS}) == len(ITEMS)
    found = rig.look()
    checks = {item["id"]: item for item in found["checks"]}
    for row in found["cis"]:
        assert set(row) == {"id", "check", "title", "status", "evidence", "explanation"}
        assert row["status"] in STATUSES
        # An explanation and nothing else makes an item pass that is not met; an unknown one never passes.
        assert bool(row["explanation"]) == (row["status"] == "explained")
        wanted = {"explained": "passed"}.get(row["status"], row["status"])
        assert checks[row["check"]]["status"] == wanted
        title, _colon, said = checks[row["check"]]["evidence"].partition(": ")
        assert title == row["title"]
        assert (row["status"] == "explained") == said.startswith("explained: ")


def test_on_a_hardened_host_every_item_passes_or_is_explained_but_apparmor_where_there_is_none(rig: Rig) -> None:
    found = rows(rig.look())
    assert {number for number, status in found.items() if status == "explained"} == {"5.3", "5.15", "5.27"}
    assert {number for number, status in found.items() if status == "unknown"} == {"5.2"}
    assert "failed" not in found.values()


@pytest.mark.parametrize(
    ("item", "change"),
    [
        ("5.4", {"CapAdd": ["NET_RAW"]}),
        ("5.5", {"Privileged": True}),
        ("5.8", {"PortBindings": {"80/tcp": [{}]}}),
        ("5.9", {"PublishAllPorts": True}),
        ("5.10", {"NetworkMode": "host"}),
        ("5.14", {"PortBindings": {"8080/tcp": [{"HostIp": "0.0.0.0"}]}}),
        ("5.15", {"RestartPolicy": {"Name": "always"}}),
        ("5.15", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 0}}),
        ("5.15", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 6}}),
        ("5.15", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": True}}),
        ("5.18", {"Devices": [{"PathOnHost": "/dev/sda"}]}),
        ("5.19", {"Ulimits": [{"Name": "nofile", "Hard": 1048576}]}),
        ("5.22", {"SecurityOpt": ["seccomp=unconfined"]}),
        ("5.25", {"CgroupParent": "/elsewhere"}),
        ("5.30", {"NetworkMode": "default"}),
        ("5.31", {"UsernsMode": "host"}),
    ],
)
def test_what_the_engine_shows_fails_its_item(rig: Rig, item: str, change: dict[str, Any]) -> None:
    rig.engine.described["rampart-gateway"]["HostConfig"].update(change)
    found = rig.look()
    assert rows(found)[item] == "failed"
    assert found["verdict"] == "failed"
    code = "CIS-" + item.replace(".", "-")
    # One thing wrong is one finding: the probes' own where they name it, else the item's.
    assert (code in found["codes"]) != any(name.startswith("ISO-") for name in found["codes"])


@pytest.mark.parametrize(
    ("item", "change"),
    [
        ("5.6", {"Mounts": [BIND]}),
        ("5.20", {"Mounts": [{**BIND, "Source": "/x", "Propagation": "rshared"}]}),
        ("5.27", {"State": {"Running": True, "Pid": OLLAMA, "Health": {"Status": "unhealthy"}}}),
        ("5.27", {"State": {"Running": True, "Pid": OLLAMA}}),
        ("5.28", {"Config": {"Image": "ollama/ollama:latest", "Labels": {}}}),
        ("5.30", {"NetworkSettings": {"Networks": {"bridge": {}}, "Ports": {}}}),
        ("5.32", {"Mounts": [{**BIND, "Source": "/run/docker.sock"}]}),
    ],
)
def test_what_else_the_engine_shows_fails_its_item(rig: Rig, item: str, change: dict[str, Any]) -> None:
    rig.engine.described["rampart-ollama"].update(change)
    assert rows(rig.look())[item] == "failed"


def test_what_the_kernel_shows_fails_its_items(rig: Rig) -> None:
    rig.proc.open_up(GATEWAY)
    rig.proc.limits(ids(3), memory="9223372036854771712", pids="max", cpu="-1")
    failed = {number for number, status in rows(rig.look()).items() if status == "failed"}
    kernel = {"5.4", "5.6", "5.10", "5.11", "5.12", "5.13", "5.16", "5.17", "5.21", "5.22", "5.23", "5.24", "5.26"}
    assert kernel | {"5.29", "5.32"} <= failed


def test_swarm_sshd_and_selinux(rig: Rig, proc: Any, tmp_path: Path) -> None:
    rig.engine.swarm = "active"
    namespaces = {"net": 31, "pid": GATEWAY + 2, "ipc": 1, "uts": 1, "mnt": 1}
    proc.process("301", uid=10002, namespaces=namespaces, comm="sshd")
    (tmp_path / "sys/fs/selinux").mkdir(parents=True)
    found = rows(rig.look())
    assert {number: found[number] for number in ("5.1", "5.3", "5.7")} == dict.fromkeys(("5.1", "5.3", "5.7"), "failed")
    for one in rig.engine.described.values():
        one["ProcessLabel"] = "system_u:system_r:container_t:s0:c1,c2"
    assert rows(rig.look())["5.3"] == "passed"
    rig.engine.described["rampart-relay"]["HostConfig"]["SecurityOpt"].append("label:disable")
    assert rows(rig.look())["5.3"] == "failed"
    rig.engine.swarm = None
    assert rows(rig.look())["5.1"] == "unknown"


def test_apparmor_is_judged_where_the_kernel_has_it(rig: Rig, proc: Any, tmp_path: Path) -> None:
    enabled = tmp_path / "sys/module/apparmor/parameters/enabled"
    enabled.parent.mkdir(parents=True)
    enabled.write_text("Y\n")
    for role, pid in (("relay", 100), ("ollama", OLLAMA), ("gateway", GATEWAY)):
        proc.write(pid, "attr/current", "rampart-{0} (enforce)\n".format(role))
    assert rows(rig.look())["5.2"] == "passed"
    proc.write(GATEWAY, "attr/current", "unconfined\n")
    assert rows(rig.look())["5.2"] == "failed"


@pytest.mark.parametrize("policy", [{"Name": "no"}, {"Name": ""}, {"Name": "on-failure", "MaximumRetryCount": 5}])
def test_a_bounded_restart_policy_passes(rig: Rig, policy: dict[str, Any]) -> None:
    for one in rig.engine.described.values():
        one["HostConfig"]["RestartPolicy"] = policy
    assert rows(rig.look())["5.15"] == "passed"


def test_a_gpu_by_name_is_explained(rig: Rig) -> None:
    rig.engine.described["rampart-ollama"]["HostConfig"]["Devices"] = [{"PathOnHost": "/dev/kfd"}]
    assert rows(rig.look(devices=("/dev/kfd",)))["5.18"] == "explained"


@pytest.mark.parametrize("role", ["relay", "ollama", "gateway"])
def test_a_container_that_does_not_run_passes_no_item(rig: Rig, role: str) -> None:
    """What is true of the others says nothing of it."""
    rig.engine.described["rampart-" + role]["State"]["Running"] = False
    found = rows(rig.look())
    assert {number for number, status in found.items() if status in ("passed", "explained")} <= {"5.1", "5.3"}


@pytest.mark.parametrize("key", ["HostConfig", "State", "Mounts", "NetworkSettings", "Config", "Image"])
@pytest.mark.parametrize("value", [None, "garbage", 7, [], [1, "x"], {"a": None}, {"Networks": 7}])
def test_garbage_of_the_engine_never_passes_an_item_that_failed(rig: Rig, key: str, value: Any) -> None:
    one = rig.engine.described["rampart-gateway"]
    broken = {"Privileged": True, "NetworkMode": "bridge", "UsernsMode": "host", "CapAdd": ["ALL"],
              "RestartPolicy": {"Name": "always"}, "Ulimits": [1], "CgroupParent": "/x",
              "PortBindings": {"80/tcp": [{}]}}  # fmt: skip
    one["HostConfig"].update(broken)
    one["Mounts"] = [{**BIND, "Propagation": "shared"}]
    failed = {number for number, status in rows(rig.look()).items() if status == "failed"}
    assert len(failed) >= 11
    one[key] = value
    # What the garbled key alone says may be an empty list, which is a valid answer.
    fine = {"5.6", "5.20", "5.32"} if key == "Mounts" else set()
    found = rows(rig.look())
    assert {number for number in failed - fine if found[number] in ("passed", "explained")} == set()


def test_the_explanations_are_sentences_and_each_is_used() -> None:
    import inspect

    from ansible_collections.rampart.ollama.plugins.module_utils import isolation_cis_items

    source = inspect.getsource(isolation_cis_items)
    for name, text in EXPLANATIONS.items():
        assert text.endswith("."), name
        assert source.count('"{0}"'.format(name)) >= 2, name
