# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule set of role firewall, rendered with its defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "firewall"
SSH = {"name": "ssh", "ports": [22], "protocol": "tcp", "sources": [], "interface": ""}


def render(**changes: Any) -> str:
    """Return the rule set with the role's defaults and `changes`, and SSH as the only way in."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.tests["search"] = lambda text, pattern: re.search(pattern, text) is not None  # Ansible's
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    defaults.update({"firewall_egress_bridge": "br-rampart-eg", "firewall_egress_resolvers": []})
    values = {**defaults, "_firewall_rules": [SSH], "layout_edge_uid": 10006, "ansible_managed": "test", **changes}
    text = (ROLE / "templates" / "firewall.nft.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(values)


def chain(text: str, name: str) -> list[str]:
    """Return the rules of one chain, without its hook and comments."""
    found = re.search(r"\tchain {0} \{{\n(.*?)\n\t\}}".format(name), text, re.DOTALL)
    assert found, f"there is no chain {name}"
    lines = [line.strip() for line in found.group(1).splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "type "))]
