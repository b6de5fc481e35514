# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1: a GPU adds devices to the server and nothing else; rendered by Ansible itself, on a machine without any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from profile_data import seccomp_text

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.row("I1")
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars_files:
    - {root}/roles/layout/defaults/main.yml
    - {root}/roles/ollama/defaults/main.yml
    - {root}/roles/ollama/vars/main.yml
    - {root}/roles/confinement/vars/main.yml
    - given.yml
  tasks:
    - ansible.builtin.copy:
        dest: "{out}"
        mode: "0600"
        content: "{{{{ {{'options': server, 'allowed': ollama_devices}} | to_json }}}}"
      vars:
        server: {server}
"""
GIVEN = {
    "role_path": str(ROOT / "roles" / "ollama"),
    "images_lock": {"images": {"ollama": {"id": "sha256:o"}, "relay": {"id": "sha256:r"}}},
    "images_cves": {},
    "ansible_facts": {
        "memtotal_mb": 8192,
        "processor_nproc": 2,
        "getent_group": {"video": ["x", "44", ""], "render": ["x", "992", ""]},
    },
    "__ollama_relay": {"container": {"Id": "relay-id"}},
}


def server(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Return what the role hands to docker_container for the server, and the devices that the facts will allow."""
    tasks = yaml.safe_load((ROOT / "roles/ollama/tasks/service.yml").read_text(encoding="utf-8"))
    task = next(task for task in tasks if task["name"] == "Run the server")
    keys = (
        "devices",
        "device_requests",
        "groups",
        "security_opts",
        "cap_drop",
        "network_mode",
        "read_only",
        "privileged",
    )
    wanted = {
        key: task["community.docker.docker_container"][key]
        for key in keys
        if key in task["community.docker.docker_container"]
    }
    out = tmp_path / "out.json"
    (tmp_path / "given.yml").write_text(yaml.safe_dump({**GIVEN, **changes}))
    # What Ansible would leave out has no form of its own in a file.
    text = PLAYBOOK.format(root=ROOT, out=out, server=json.dumps(wanted).replace("or omit", "or 'left out'"))
    (tmp_path / "play.yml").write_text(text)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            str(tmp_path / "play.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Without what Ansible leaves out."""
    return {key: value for key, value in options.items() if value != "left out"}


def test_without_a_gpu_there_is_no_device(tmp_path: Path) -> None:
    made = server(tmp_path)
    assert made["allowed"] == []
    assert {"devices", "device_requests", "groups"} & set(given(made["options"])) == set()
    assert made["options"]["security_opts"] == ["no-new-privileges:true", "seccomp=" + seccomp_text()]


@pytest.mark.parametrize(
    ("kind", "added", "allowed"),
    [
        (
            "nvidia",
            {"device_requests": [{"driver": "cdi", "device_ids": ["nvidia.com/gpu=all"]}]},
            ["nvidia.com/gpu=all"],
        ),
        (
            "amd",
            {"devices": ["/dev/kfd:/dev/kfd:rw", "/dev/dri:/dev/dri:rw"], "groups": ["44", "992"]},
            ["/dev/kfd", "/dev/dri"],
        ),
    ],
)
def test_a_gpu_adds_its_devices_and_nothing_else(tmp_path: Path, kind: str, added: Any, allowed: list[str]) -> None:
    plain, made = server(tmp_path), server(tmp_path, ollama_gpu=kind)
    options, base = given(made["options"]), given(plain["options"])
    assert {key: options[key] for key in options if key not in base} == added
    same = {key: value for key, value in base.items() if key != "security_opts"}
    assert {key: options[key] for key in same} == same
    assert options["security_opts"] == ["no-new-privileges:true", "seccomp=" + seccomp_text(gpu=True)]
    assert made["allowed"] == allowed
