# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S5, W3: the role antivirus: its daemon's settings, and the regular scan as it is put on hosts."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.clamd import ENGINE_MAX_BYTES, parse_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from clamd_stand_in import SIGNATURE, StandIn

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "antivirus"
MODULE_UTILS = ROOT / "plugins" / "module_utils"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLE / name).read_text())
    return content


def render(template: str, **changes: Any) -> str:
    """Render a template of the role with its defaults and variables, and these changes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["dirname"] = os.path.dirname  # Ansible's
    known: dict[str, Any] = {"layout_root": "/srv/rampart", "layout_state": "/var/lib/rampart", "layout_etc": "/e"}
    values = {**read("defaults/main.yml"), **read("vars/main.yml"), **known, **changes}

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if isinstance(value, str) and "{{" in value and "item" not in value and "|" not in value:
            return resolved(environment.from_string(value).render(values))
        return value

    for _depth in range(3):
        values = {key: resolved(value) for key, value in values.items()}
    return environment.get_template(template).render(values)


def settings(text: str) -> list[list[str]]:
    return [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.row("S5")
def test_s5_the_daemon_reads_all_that_it_can_and_admits_the_rest() -> None:
    text = render("clamd.conf.j2")
    limits = parse_limits(text, "1.4.6")
    assert (limits.most(False), limits.most(True), limits.alerts) == (ENGINE_MAX_BYTES, ENGINE_MAX_BYTES, True)
    known = dict(settings(text))
    assert known["DisableCache"] == "yes"
    assert (known["User"], known["LocalSocketMode"]) == ("clamav", "660")


@pytest.mark.row("W3")
def test_w3_models_are_left_out_of_scanning_on_access_and_of_nothing_else() -> None:
    names = [name for name, _value in settings(render("clamd.conf.j2"))]
    assert names.count("OnAccessExcludePath") == 2
    assert "OnAccessExcludePath /srv/rampart/store" in render("clamd.conf.j2").splitlines()
    for never in ("ExcludePath", "TCPSocket", "TCPAddr", "OnAccessIncludePath", "OnAccessMountPath"):
        assert never not in names


@pytest.mark.row("W3")
def test_w3_a_daemon_takes_the_settings() -> None:
    if shutil.which("clamd") is None:
        pytest.skip("clamd is not installed here; tests/scan installs it")
    for template, program in (("clamd.conf.j2", "clamd"), ("freshclam.conf.j2", "freshclam")):
        text = render(
            template, antivirus_freshclam_mirror="https://mirror.example.org", antivirus_freshclam_proxy_host="p"
        )
        done = subprocess.run(
            [program, "--config-file=/dev/stdin", "--version"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.row("W3")
@pytest.mark.parametrize("template", ["clamav-daemon.service.conf.j2", "rampart-scan.service.j2"])
def test_w3_services_have_no_network_no_powers_and_a_read_only_system(template: str) -> None:
    lines = render(template).splitlines()
    for wanted in (
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "SystemCallFilter=@system-service",
    ):
        assert wanted in lines
    writable = [line for line in lines if line.startswith("ReadWritePaths=")]
    assert len(writable) == 1
    assert "/store" not in writable[0]


@pytest.mark.row("W3")
def test_w3_the_socket_is_not_for_everybody() -> None:
    assert "SocketMode=0660" in render("clamav-daemon.socket.conf.j2").splitlines()


@pytest.mark.row("W3")
def test_w3_every_variable_is_described() -> None:
    specified = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read("defaults/main.yml")
    assert {name: item["default"] for name, item in specified.items()} == defaults


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The regular scan, put together as the role does it."""
    target = tmp_path / "program"
    for name in read("vars/main.yml")["_antivirus_program_files"]:
        source = ROLE / "files" / "scan" / name if "__" in name else MODULE_UTILS / Path(name).name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target / name)
    return target


@pytest.mark.row("W3")
def test_w3_the_program_is_closed_under_its_imports_and_no_larger(program: Path) -> None:
    package = program / "rampart_scan"
    imported = {"scan_job"}
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                imported.add(node.module)
    assert imported == {path.stem for path in package.glob("*.py")} - {"__init__"}


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    home = tmp_path / "clamd"
    home.mkdir()
    made = StandIn(home)
    made.version = "ClamAV 1.4.6"
    yield made
    made.close()


@pytest.fixture
def run(program: Path, stand_in: StandIn, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as the unit does, with settings as the role writes them: run(setting=...)."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "blob").write_bytes(b"weights")
    (tmp_path / "report").mkdir()

    def call(**changes: Any) -> subprocess.CompletedProcess[str]:
        keys = set(read("vars/main.yml")["_antivirus_job"])
        given = {
            "directory": str(store),
            "report": str(tmp_path / "report" / "report.json"),
            "socket": str(stand_in.socket),
            "config": str(stand_in.config),
            "scratch": str(tmp_path),
            "windows": True,
            "window_bytes": 1 << 30,
            "max_age_days": 7,
            "allow_undated": True,
            "seconds": 5,
            "workers": 0,
        }
        assert set(given) == keys
        path = tmp_path / "settings.json"
        path.write_text(json.dumps({**given, **changes}))
        return subprocess.run(
            [sys.executable, "-I", "-B", str(program), str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.mark.row("W3")
def test_w3_a_clean_store_ends_well_and_is_on_record(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert json.loads(lines[0])["code"] == "SCAN-STALE"
    assert lines[-1].startswith("1 files, 7 of 7 bytes read")
    path = tmp_path / "report" / "report.json"
    report = json.loads(path.read_text())
    assert (report["verdict"], report["counts"]["clean"]) == ("passed", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", report["ended"])
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


@pytest.mark.row("W3")
def test_w3_a_find_fails_the_unit_and_is_in_the_journal(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "store" / "bad").write_bytes(SIGNATURE)
    done = run()
    assert done.returncode == 1
    assert "SCAN-INFECTED" in [json.loads(line)["code"] for line in done.stdout.splitlines()[:-1]]
    assert json.loads((tmp_path / "report" / "report.json").read_text())["verdict"] == "failed"


@pytest.mark.row("W3")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"socket": "/nonexistent.sock"}, 1),
        ({"directory": "/nonexistent"}, 1),
        ({"report": "/nonexistent/report.json"}, 2),
        ({"seconds": 0}, 2),
        ({"upload": True}, 2),
    ],
)
def test_w3_what_cannot_be_done_is_one_line_and_no_success(
    run: Callable[..., subprocess.CompletedProcess[str]], changes: dict[str, Any], status: int
) -> None:
    done = run(**changes)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("SCAN-" in done.stderr) == (status == 2)
