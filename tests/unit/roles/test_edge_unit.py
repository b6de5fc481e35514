# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I2: the edge's only doors inside are the gateway's socket and the journal's."""

from __future__ import annotations

import os
from pathlib import Path

import jinja2
import pytest
import yaml

pytestmark = pytest.mark.row("I2")
ROLES = Path(__file__).resolve().parents[3] / "roles"


def unit(port: int = 8443) -> dict[str, list[str]]:
    """Return the unit's settings by name, each with its values in order."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["dirname"] = os.path.dirname  # Ansible's
    values = yaml.safe_load((ROLES / "layout" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    values |= {
        "gateway_edge_port": port,
        "_gateway_edge_etc": "/etc/rampart/edge",
        "_gateway_edge_state": "/var/lib/rampart-edge",
        "_gateway_edge_early_log": " -e stderr",
    }
    text = (ROLES / "gateway" / "templates" / "rampart-edge.service.j2").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for line in environment.from_string(text).render(values).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_of_the_hosts_sockets_it_sees_two() -> None:
    seen = unit()
    assert seen["TemporaryFileSystem"] == ["/run:ro"]
    assert seen["BindReadOnlyPaths"] == ["/run/rampart/gateway /run/systemd/journal/dev-log"]
    assert seen["BindPaths"] == ["/run/rampart-edge"]


def test_models_state_and_the_engines_files_are_out_of_reach() -> None:
    hidden = unit()["InaccessiblePaths"][0].split()
    assert {"-/srv/rampart", "-/var/lib/rampart", "-/etc/rampart/gateway", "-/var/lib/docker"} <= set(hidden)


@pytest.mark.parametrize(("port", "capability"), [(8443, ""), (443, "CAP_NET_BIND_SERVICE")])
def test_it_holds_no_capability_but_the_one_a_low_port_takes(port: int, capability: str) -> None:
    seen = unit(port)
    assert seen["CapabilityBoundingSet"] == [capability]
    assert seen.get("AmbientCapabilities", [""]) == [capability]
    assert seen["SocketBindAllow"] == [f"tcp:{port}"]
    assert seen["SocketBindDeny"] == ["any"]
    assert seen["User"] == ["rampart-edge"]


@pytest.mark.parametrize(
    "name",
    ["NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules"]
    + ["ProtectControlGroups", "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute"],
)
def test_a_switch_of_the_sandbox_is_on(name: str) -> None:
    assert unit()[name] == ["yes"]
