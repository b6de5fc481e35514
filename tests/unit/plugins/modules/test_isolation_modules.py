# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as Ansible runs them: one JSON object, no traceback, nothing changed, also in check mode."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.plugin_utils.attack_catalogue import (
    DEFAULT_DIRECTORY,
    for_hosts,
    load_attacks,
)

PREFIX = "ansible_collections.rampart.ollama.plugins.modules."
MODULES = ("ollama_isolation_facts", "ollama_host_facts", "ollama_isolation_attack", "ollama_isolation_trace")


def run(name: str, check_mode: bool = False, _arguments: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
    """Run a module in a process of its own and return (exit status, its result)."""
    arguments = {**(_arguments or {}), **more, "_ansible_check_mode": check_mode}
    code = (
        "import json, sys; from importlib import import_module; from ansible.module_utils import basic;"
        "basic._ANSIBLE_ARGS = json.dumps({{'ANSIBLE_MODULE_ARGS': {0!r}}}).encode();"
        "basic._ANSIBLE_PROFILE = 'legacy';"
        "import_module({1!r}).main()"
    ).format(arguments, PREFIX + name)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, result


@pytest.mark.parametrize("check_mode", [False, True])
def test_isolation_facts_of_a_host_without_docker(tmp_path: Path, check_mode: bool) -> None:
    """I4: facts alone, and the engine that is down is named."""
    status, result = run("ollama_isolation_facts", check_mode, docker_socket=str(tmp_path / "none"))
    assert (status, result["changed"]) == (0, False)
    found = result["ansible_facts"]["ollama_isolation"]
    assert "ISO-ENGINE-DOWN" in {item["code"] for item in found["findings"]}
    assert found["verdict"] == "failed"
    assert found["schema"] == 1


def test_the_shape_of_the_isolation_facts_is_the_documented_one(tmp_path: Path) -> None:
    """I4: every key that is returned is documented, and every documented one is returned, whatever could be seen."""
    _status, result = run("ollama_isolation_facts", docker_socket=str(tmp_path / "none"), egress=True)
    found = result["ansible_facts"]["ollama_isolation"]
    module = importlib.import_module(PREFIX + "ollama_isolation_facts")
    described = yaml.safe_load(module.RETURN)["ansible_facts"]["contains"]["ollama_isolation"]["contains"]
    assert set(found) == set(described)
    assert set(found["facts"]) == set(described["facts"]["contains"])
    assert found["schema"] == described["schema"]["sample"]
    kinds = {"int": int, "str": str, "list": list, "dict": dict}
    for shown, told in ((found, described), (found["facts"], described["facts"]["contains"])):
        for key, value in shown.items():
            assert value is None or isinstance(value, kinds[told[key]["type"]]), key
            if told[key].get("elements") == "dict" and value and told[key]["sample"]:
                assert set(told[key]["sample"][0]) == set(value[0]), key
            # What may be null says so.
            assert value is not None or "Null when it" in str(told[key]["description"]), key


@pytest.mark.parametrize(
    "arguments",
    [
        {"containers": {"relais": "x"}},
        {"uids": {"ollama": "root"}},
        {"uids": {"nobody": 1}},
        {"mounts": {"ollama": {"/models": "maybe"}}},
        {"mounts": {"ollama": "x"}},
        {"containers": {"fetcher": "x"}},
        {"uids": {"fetcher": -1}},
        {"engine_timeout": 0},
        {"egress_timeout": 61.0},
        {"socket_directories": [{"role": "x", "path": "/x"}]},
    ],
)
def test_isolation_facts_refuses_parameters_that_make_no_sense(arguments: Any) -> None:
    status, result = run("ollama_isolation_facts", **arguments)
    assert status == 1
    assert result["msg"].startswith("ISO-PARAMETERS: ")


@pytest.mark.parametrize("check_mode", [False, True])
def test_host_facts_of_this_machine(tmp_path: Path, check_mode: bool) -> None:
    """W7: the real machine is looked at, whatever it is."""
    status, result = run("ollama_host_facts", check_mode, docker_socket=str(tmp_path / "none"), profile="prod")
    assert (status, result["changed"]) == (0, False)
    found = result["ansible_facts"]["ollama_host"]
    assert found["verdict"] in ("ready", "blocked")
    assert found["facts"]["memory_mb"] > 0
    assert "DOCKER-DOWN" in {item["code"] for item in found["findings"]}


def test_the_attack_says_when_there_is_nothing_to_attack_from(tmp_path: Path) -> None:
    for origin in ("server", "gateway", "clone", "neighbour-container"):
        arguments = {"from": origin, "docker_socket": str(tmp_path / "none")}
        status, result = run("ollama_isolation_attack", False, arguments)
        assert status == 1
        assert result["msg"].startswith("ENGINE-DOWN: ")
    status, result = run("ollama_isolation_attack", False, {"from": "host", "attacks": ["fly"]})
    assert (status, result["msg"].partition(":")[0]) == (1, "ATTACK-UNKNOWN")


def test_the_attack_tries_nothing_in_check_mode() -> None:
    status, result = run("ollama_isolation_attack", True, {"from": "server"})
    assert (status, result["results"], result["checks"], result["measures"]) == (0, [], [], [])


@pytest.mark.parametrize("definition", [{}, {"id": "x"}, {"id": "a", "origins": ["moon"]}])
def test_a_definition_that_is_none_is_one_error(definition: Any) -> None:
    status, result = run("ollama_isolation_attack", False, {"from": "host", "definitions": [definition]})
    assert (status, result["msg"].partition(":")[0]) == (1, "ATTACK-UNKNOWN")


def test_a_trace_is_read_before_and_after(tmp_path: Path) -> None:
    """I6: a host without engine, firewall or watch says what it cannot read, and nothing is taken for seen."""
    arguments = {"docker_socket": str(tmp_path / "none"), "watch_figures": str(tmp_path / "none.prom")}
    status, result = run("ollama_isolation_trace", True, {**arguments, "traces": ["watch:drops"]})
    assert (status, result["changed"], result["marks"]) == (0, False, {"watch:drops": None})
    assert (result["checks"], result["container_addresses"]) == ([], [])
    told = {"id": "a-b", "tried": "t", "expected": "refused", "outcome": "refused", "evidence": "no answer"}
    told.update({"seen": "unknown", "trace": "", "seen_by": ["watch:drops"]})
    status, result = run("ollama_isolation_trace", False, {**arguments, "before": {}, "results": [told]})
    assert [(item["id"], item["status"]) for item in result["checks"]] == [("attack-neighbour-seen", "unknown")]
    before = {"watch:drops": 0}
    status, result = run("ollama_isolation_trace", False, {**arguments, "before": before, "results": [told]})
    assert ("attack-neighbour-heard", "unknown") in [(item["id"], item["status"]) for item in result["checks"]]
    status, result = run("ollama_isolation_trace", False, {"traces": ["tea leaves"]})
    assert (status, result["msg"].partition(":")[0]) == (1, "ATTACK-TRACE")


def test_the_attack_from_a_neighbour_reports_each_port() -> None:
    """I6: a closed port is refused; the family without an address proves nothing."""
    targets = {"host_addresses": ["127.0.0.1"], "ollama_ports": [1], "docker_ports": [1], "edge_ports": [8443]}
    targets["expected_ports"] = [8443]
    arguments = {"from": "host", "targets": targets, "timeout": 1}
    arguments["definitions"] = for_hosts(load_attacks(DEFAULT_DIRECTORY), "host")
    status, result = run("ollama_isolation_attack", False, arguments)
    assert (status, result["changed"]) == (0, False)
    assert {item["id"]: item["status"] for item in result["checks"]} == {
        "attack-neighbour-ollama-ipv4": "passed",
        "attack-neighbour-ollama-ipv6": "unknown",
        "attack-neighbour-docker-ipv4": "passed",
        "attack-neighbour-docker-ipv6": "unknown",
        # Open on purpose.
        "attack-neighbour-edge-ipv4": "passed",
        "attack-neighbour-edge-ipv6": "passed",
        # No address behind the host was named. Traces are read, and judged, on the host itself.
        "attack-neighbour-routed-container": "unknown",
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_yaml_and_complete(name: str) -> None:
    module = importlib.import_module(PREFIX + name)
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert documentation["module"] == name
    assert documentation["attributes"]["check_mode"]["support"] == "full"
    assert yaml.safe_load(module.EXAMPLES)
    assert all("sample" in item or "contains" in item for item in yaml.safe_load(module.RETURN).values())
