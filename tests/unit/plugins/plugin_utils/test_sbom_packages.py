# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S8: package lists are read strictly; a cut or forged one is refused, never taken for a short one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import sbom_packages
from ansible_collections.rampart.ollama.plugins.plugin_utils.sbom_packages import (
    Deb,
    Distribution,
    host_debs,
    parse_image_list,
    parse_os_release,
    parse_requirements,
)

pytestmark = pytest.mark.row("S8")

ROLES = Path(__file__).parents[4] / "roles"
H1, H2 = "1" * 64, "2" * 64

LIST = """[os-release]
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION_CODENAME=trixie
ID=debian
[dpkg]
adduser\t3.152\tall\tinstalled\tadduser\t3.152
libstdc++6\t14.2.0-19\tamd64\tinstalled\tgcc-14\t14.2.0-19
zlib1g\t1:1.3.dfsg+really1.3.1-1+b1\tamd64\tinstalled\tzlib\t1:1.3.dfsg+really1.3.1-1
old-thing\t1.0\tamd64\tconfig-files\told-thing\t1.0
[python]
/opt/gateway/lib/python3.13/site-packages/aiohttp-3.14.5.dist-info
/opt/gateway/lib/python3.13/site-packages/typing_extensions-4.16.0.dist-info
[end]
"""


def refused(text: str) -> str:
    with pytest.raises(FindingError) as caught:
        parse_image_list(text, "image")
    assert caught.value.finding.code == "SBOM-PACKAGE-LIST"
    return caught.value.finding.evidence


def test_s8_a_list_of_an_image() -> None:
    content = parse_image_list(LIST, "image")
    assert content.distribution == Distribution("debian", "13")
    assert content.distribution.label == "debian-13"
    assert content.debs == (
        Deb("adduser", "3.152", "all", "adduser", "3.152"),
        Deb("libstdc++6", "14.2.0-19", "amd64", "gcc-14", "14.2.0-19"),
        Deb("zlib1g", "1:1.3.dfsg+really1.3.1-1+b1", "amd64", "zlib", "1:1.3.dfsg+really1.3.1-1"),
    )
    assert content.python == (("aiohttp", "3.14.5"), ("typing-extensions", "4.16.0"))
    assert content.listed


def test_s8_the_order_and_the_line_ends_of_a_list_do_not_matter() -> None:
    lines = LIST.splitlines()
    lines[7], lines[9] = lines[9], lines[7]
    assert parse_image_list("\r\n".join(lines), "image") == parse_image_list(LIST, "image")


def test_s8_an_image_that_cannot_be_asked_is_not_listed() -> None:
    content = parse_image_list("[none]\n", "image")
    assert (content.listed, content.debs, content.python) == (False, (), ())


@pytest.mark.parametrize("size", range(1, len(LIST) - 2, 13))
def test_s8_a_list_that_was_cut_is_refused(size: int) -> None:
    refused(LIST[:size])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Error starting container: no such file",
        "[none]\nadduser\t1\tall\tinstalled\t\t\n",
        "[none]\n" + LIST,
        LIST + "adduser\t1\tall\tinstalled\t\t\n",
        LIST + LIST,
        LIST.replace("[python]\n", ""),
        LIST.replace("[end]\n", "").replace("[python]\n", "[end]\n[python]\n"),
        LIST.replace("[end]", "[fin]"),
        LIST.replace("\tall\t", " all "),
        LIST.replace("adduser\t3.152\tall", "adduser\t\tall"),
        LIST.replace("adduser\t3.152\tall", "Adduser\t3.152\tall"),
        LIST.replace("adduser\t3.152\tall", "adduser\t3.152;reboot\tall"),
        LIST.replace("adduser\t3.152\tall", "../x\t3.152\tall"),
        LIST.replace("adduser\t3.152\tall", "adduser\t3.152\tall\tmore"),
        LIST.replace("\tgcc-14\t", "\tGCC 14\t"),
        LIST.replace("aiohttp-3.14.5.dist-info", "aiohttp.egg-link"),
        LIST.replace("aiohttp-3.14.5.dist-info", "aiohttp-.dist-info"),
        LIST.replace("adduser", "add\x00user"),
    ],
)
def test_s8_a_list_of_another_form_is_refused(text: str) -> None:
    refused(text)


def test_s8_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom_packages, "LIST_MAX_BYTES", 100)
    assert "longer" in refused(LIST)
    monkeypatch.undo()
    monkeypatch.setattr(sbom_packages, "PACKAGES_MAX", 2)
    assert "more than 2" in refused(LIST)


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this machine has no dpkg to ask")
def test_s8_the_script_that_an_image_is_asked_with_writes_this_form() -> None:
    script = yaml.safe_load((ROLES / "sbom/vars/main.yml").read_text(encoding="utf-8"))["_sbom_script"]
    answer = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stderr == ""
    content = parse_image_list(answer.stdout, "this machine")
    assert content.distribution.id
    assert "dpkg" in {deb.name for deb in content.debs}
    assert all(deb.source and deb.source_version for deb in content.debs)


def test_s8_the_script_stops_where_there_is_no_dpkg(tmp_path: Path) -> None:
    script = yaml.safe_load((ROLES / "sbom/vars/main.yml").read_text(encoding="utf-8"))
    (tmp_path / "cat").symlink_to("/bin/cat")
    answer = subprocess.run(
        ["/bin/sh", "-c", script["_sbom_script"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": str(tmp_path)},
    )
    assert answer.returncode
    assert "[end]" not in answer.stdout
    assert re.search(script["_sbom_no_tools"], answer.stderr)


@pytest.mark.parametrize(
    ("lines", "label"),
    [
        (["ID=ubuntu", 'VERSION_ID="24.04"'], "ubuntu-24.04"),
        (["ID='debian'", "VERSION_CODENAME=forky"], "debian-forky"),
        (["ID=debian"], "debian"),
        (["VERSION_ID=13"], "13"),
        ([], ""),
        (["ID=Debian GNU", "ID = debian", "# ID=debian"], ""),
        (['ID="$(reboot)"', "VERSION_ID=../13"], ""),
    ],
)
def test_s8_a_distribution_is_what_os_release_names_or_nothing(lines: list[str], label: str) -> None:
    assert parse_os_release(lines).label == label


# --- requirements


def test_s8_the_gateways_requirements_can_be_read() -> None:
    text = (ROLES / "gateway/files/requirements.txt").read_text(encoding="utf-8")
    pins = parse_requirements(text, "requirements.txt")
    assert len(pins) == sum("==" in line for line in text.splitlines())
    assert sum(len(hashes) for hashes in pins.values()) == text.count("--hash=sha256:")
    assert ("prometheus-client", "0.26.0") in pins


def test_s8_forms_of_requirements() -> None:
    text = (
        "# a comment\n--index-url https://example.org/\n"
        "Foo_Bar[extra]==1.0 ; python_version < '3.12' \\\n    --hash=sha256:"
        + H2
        + " \\\n    --hash=sha256:"
        + H1
        + "\n"
        "    # via baz\nbaz==2.0+local.1 --hash=sha256:" + H1 + "  # why\n\n"
    )
    assert parse_requirements(text, "r") == {("foo-bar", "1.0"): (H1, H2), ("baz", "2.0+local.1"): (H1,)}


@pytest.mark.parametrize(
    "line",
    [
        "foo==1.0",
        "foo --hash=sha256:" + H1,
        "foo>=1.0 --hash=sha256:" + H1,
        "foo==1.* --hash=sha256:" + H1,
        "foo==1.0 --hash=md5:" + H1,
        "foo==1.0 --hash=sha256:" + H1[:-1],
        "foo==1.0 --hash=sha256:" + H1 + " --hash=sha256:",
        "foo @ https://example.org/foo.whl --hash=sha256:" + H1,
        "-e .",
    ],
)
def test_s8_what_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(FindingError) as caught:
        parse_requirements(line + "\n", "r")
    assert caught.value.finding.code == "SBOM-REQUIREMENTS"


def test_s8_endless_requirements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom_packages, "REQUIREMENTS_MAX_BYTES", 100)
    with pytest.raises(FindingError, match="SBOM-REQUIREMENTS"):
        parse_requirements("# " + "x" * 200, "r")


# --- the host


def fact(**changes: Any) -> dict[str, Any]:
    return {"name": "bash", "version": "5.2.15-2+b2", "arch": "amd64", "source": "apt", "origin": "Debian", **changes}


def test_s8_the_hosts_packages() -> None:
    facts = {
        "bash": [fact()],
        "linux-image-amd64": [fact(version="6.1.1-1"), fact(version="6.1.2-1"), fact(version="6.1.2-1")],
        "requests": [fact(source="pip", version="weird version")],
    }
    assert host_debs(facts) == (
        Deb("bash", "5.2.15-2+b2", "amd64"),
        Deb("linux-image-amd64", "6.1.1-1", "amd64"),
        Deb("linux-image-amd64", "6.1.2-1", "amd64"),
    )
    assert host_debs({}) == ()


@pytest.mark.parametrize(
    "facts",
    [
        None,
        [],
        "bash",
        {"bash": [fact(version="")]},
        {"bash": [fact(version="1 2")]},
        {"bash": [fact(arch=None)]},
        {"Bash!": [fact()]},
    ],
)
def test_s8_packages_of_another_form_are_refused(facts: Any) -> None:
    with pytest.raises(FindingError) as caught:
        host_debs(facts)
    assert caught.value.finding.code == "SBOM-INPUT"
