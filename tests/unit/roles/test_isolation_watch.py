# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I5: the role isolation_watch: what it copies, what its services may do, and what a quarantine lets through."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_config import quarantine_problem

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "isolation_watch"
MODULE_UTILS = ROOT / "plugins" / "module_utils"
SERVICES = ("sensor", "actor", "gate")

pytestmark = pytest.mark.row("I5")


def read(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text())


def quarantine(**values: Any) -> str:
    """Return the quarantine of role incident, as the watch has it rendered."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.tests["search"] = lambda text, pattern: re.search(pattern, text) is not None  # Ansible's
    template = ROLE.parent / "incident/templates/quarantine.nft.j2"
    return environment.from_string(template.read_text()).render({"ansible_managed": "test", **values})


def render(template: str, **changes: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    values = {
        **read("defaults/main.yml"),
        "layout_root": "/srv/rampart",
        "layout_etc": "/etc/rampart",
        "layout_state": "/var/lib/rampart",
        "ansible_managed": "managed",
        "layout_watch_uid": 10007,
        "_isolation_watch_account": "rampart-watch",
        "_isolation_watch_launcher": "/usr/local/lib/rampart/watch_service.py",
        "_isolation_watch_run": "/run/rampart/watch",
        "_isolation_watch_etc": "/etc/rampart/watch",
        "_isolation_watch_state": "/var/lib/rampart/watch",
        "_isolation_watch_log": "/srv/rampart/log/watch",
        **changes,
    }
    return environment.get_template(template).render(values)


def unit(service: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in render("rampart-watch-{0}.service.j2".format(service)).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def imported(name: str) -> set[str]:
    tree = ast.parse((MODULE_UTILS / name).read_text())
    return {"{0}.py".format(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}


def test_i5_the_services_consist_of_exactly_what_they_import() -> None:
    context = read("files/context.yml")
    needed: set[str] = set()
    waiting = list(context["services"])
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += imported(name)
    assert context["files"] == sorted(needed)


def test_i5_the_services_need_the_standard_library_only() -> None:
    for path in [
        ROLE / "files/watch_service.py",
        *(MODULE_UTILS / name for name in read("files/context.yml")["files"]),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert all(item.split(".")[0] in sys.stdlib_module_names for item in modules), (path.name, modules)


@pytest.mark.parametrize("service", SERVICES)
def test_i5_the_copied_files_run_by_themselves(tmp_path: Path, service: str) -> None:
    package = tmp_path / "rampart_watch"
    package.mkdir()
    (package / "__init__.py").write_text((ROLE / "files/__init__.py").read_text())
    for name in read("files/context.yml")["files"]:
        (package / name).write_bytes((MODULE_UTILS / name).read_bytes())
    launcher = tmp_path / "watch_service.py"
    launcher.write_text((ROLE / "files/watch_service.py").read_text())
    run = [sys.executable, "-I", "-B", str(launcher)]
    done = subprocess.run([*run, service, "--help"], cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "usage:" in done.stdout) == (0, True), done.stderr
    assert subprocess.run([*run, "shell"], capture_output=True, timeout=60, check=False).returncode == 2
    assert not (package / "__pycache__").exists()


@pytest.mark.parametrize("service", ["sensor", "actor"])
def test_i5_a_bad_configuration_is_refused_in_one_line(tmp_path: Path, service: str) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"schema": 99}')
    module = {"sensor": "watch_sensor_main", "actor": "watch_actor"}[service]
    name = "ansible_collections.rampart.ollama.plugins.module_utils.{0}".format(module)
    command = [sys.executable, "-m", name, "--check", "--config", str(bad)]
    done = subprocess.run(command, cwd=ROOT / ".collections", capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "WATCH-CONFIG" in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_i5_every_service_is_caged(service: str) -> None:
    settings = unit(service)
    for name, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "ProtectControlGroups": "yes",
        "RestrictNamespaces": "yes",
        "RestrictSUIDSGID": "yes",
        "MemoryDenyWriteExecute": "yes",
        "SystemCallArchitectures": "native",
        "Type": "notify",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "WatchdogSec": "30",
        "IPAddressDeny": "any",
    }.items():
        assert settings[name] == [value], name
    assert settings["MemoryMax"]
    denied = " ".join(value for value in settings["SystemCallFilter"] if value.startswith("~"))
    assert {"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"} <= set(denied.replace("~", "").split())
    assert "AF_INET" not in " ".join(settings["RestrictAddressFamilies"])
    # Docker may come and go: the watch waits for its start, and never ends with it.
    assert "docker.service" in settings["After"][0]
    for name in ("Requires", "BindsTo", "PartOf", "Requisite"):
        assert name not in settings
    assert " -I -B " in settings["ExecStart"][0]


def test_i5_each_service_has_its_powers_and_no_others() -> None:
    bounds = {service: set(unit(service)["CapabilityBoundingSet"][0].split()) for service in SERVICES}
    assert bounds == {
        "gate": set(),
        "actor": {"CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"},
        "sensor": {
            "CAP_NET_ADMIN",
            "CAP_SETUID",
            "CAP_SETGID",
            "CAP_SETPCAP",
            "CAP_SYS_PTRACE",
            "CAP_DAC_READ_SEARCH",
        },
    }
    assert "AmbientCapabilities" not in unit("sensor")
    # The sensor writes its log and its figures, and neither sockets nor records nor limits.
    assert unit("sensor")["ReadWritePaths"] == ["/srv/rampart/log/watch {{ layout_state }}/watch/metrics"]
    assert unit("gate")["ReadWritePaths"] == ["/run/rampart/watch"]


def test_i5_the_actors_files_are_not_the_sensors() -> None:
    layout = yaml.safe_load((ROLE.parent / "layout/vars/main.yml").read_text())
    directories = {item["path"]: item for item in layout["_layout_directories"]}
    contained = directories["{{ layout_state }}/watch/contained"]
    assert (contained["owner"], contained["group"], contained["mode"]) == (0, 0, "700")
    assert directories["{{ layout_state }}/watch"]["owner"] == 0
    assert directories["{{ layout_etc }}/watch"]["mode"] == "750"
    tasks = {task["name"]: task for task in read("tasks/configure.yml")}
    actor = tasks["Tell the actor what it may do"]["ansible.builtin.copy"]
    assert (actor["owner"], actor["mode"]) == ("root", "0600")
    # What a service reads is judged by that service before it is put in place.
    for name, word in (("Tell the actor what it may do", "actor"), ("Tell the sensor what to expect", "sensor")):
        assert "{0} --check --config %s".format(word) in tasks[name]["ansible.builtin.copy"]["validate"]
    # The one template of a quarantine (role incident), which is checked with nft before it is put in place.
    rules = tasks["Write what a quarantine loads"]
    assert rules["ansible.builtin.import_role"] == {"name": "rampart.ollama.incident", "tasks_from": "render.yml"}


@pytest.mark.parametrize("sources", [[], ["192.0.2.0/24"], ["192.0.2.7", "2001:db8::/32"], ["2001:db8::7"]])
def test_i5_a_quarantine_is_a_table_of_its_own_that_keeps_ssh(sources: list[str]) -> None:
    admitted = sources or ["0.0.0.0/0", "::/0"]
    text = quarantine(
        incident_quarantine_peers=admitted, incident_quarantine_ports=[22, 2222], incident_keep_sessions=True
    )
    assert quarantine_problem(text) == ""
    rules = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert text.count("policy drop") == 3
    assert 'iifname "lo" accept' in rules
    assert 'oifname "lo" accept' in rules
    # What is there stays, whoever it is: nobody can be cut off in the middle of mending.
    assert any(rule.startswith("tcp dport { 22, 2222 } ct state established") for rule in rules)
    opening = [rule.split(" tcp ")[0] for rule in rules if "saddr" in rule and "tcp dport { 22, 2222 }" in rule]
    four = [item for item in admitted if ":" not in item]
    six = [item for item in admitted if ":" in item]
    assert opening == [
        "{0} saddr {{ {1} }}".format(family, ", ".join(sorted(found)))
        for family, found in (("ip", four), ("ip6", six))
        if found
    ]
    # Nothing is forwarded, and no connection is begun: the output chain names no destination port but DHCP's.
    output = text[text.index("chain output") :]
    assert [line.strip().split("udp sport")[1] for line in output.splitlines() if " dport " in line] == [
        " 68 udp dport 67 accept",
        " 546 udp dport 547 accept",
    ]
    assert "accept" not in text[text.index("chain forward") : text.index("chain output")]


def test_every_variable_is_specified_with_its_default() -> None:
    options = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == read("defaults/main.yml")
    readme = (ROLE / "README.md").read_text()
    for name in options:
        assert "`{0}`".format(name) in readme, name


@pytest.mark.row("C10")
def test_c10_undo_removes_what_the_role_made_and_lifts_no_containment() -> None:
    text = (ROLE / "tasks/undo.yml").read_text()
    for made in ("_isolation_watch_units", "_isolation_watch_etc", "_isolation_watch_launcher",
                 "_isolation_watch_package", "_isolation_watch_log"):  # fmt: skip
        assert made in text, made
    commands = [
        task["ansible.builtin.command"]["argv"] for task in yaml.safe_load(text) if "ansible.builtin.command" in task
    ]
    assert commands == [["{{ _isolation_watch_nft }}", "list", "tables"]]
    removal = next(t for t in yaml.safe_load(text) if t["name"].startswith("Remove the log"))
    assert removal["when"] == "isolation_watch_undo_data | bool"
