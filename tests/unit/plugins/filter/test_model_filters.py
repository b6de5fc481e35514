# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S6, S7, S8: the filters for names, digests, sizes, versions and indicators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.filter import (
    cve_checks,
    cve_findings,
    egress_findings,
    human_size,
    ioc_checks,
    ioc_findings,
    model_reference,
    same_model,
    short_digest,
)
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import parse_manifest

HEX = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TABLE_FILE = Path(__file__).parents[4] / "roles/images/files/ollama_cves.yml"


def use(plugin: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = plugin.FilterModule().filters()[plugin.__name__.rpartition(".")[2]]
    return found


@pytest.mark.row("S6")
@pytest.mark.parametrize("digest", ["sha256:" + HEX, "sha256-" + HEX, "sha256:" + HEX.upper()])
def test_s6_a_short_digest(digest: str) -> None:
    assert use(short_digest)(digest) == "sha256:b179c9523d0e"
    assert use(short_digest)(digest, 64) == "sha256:" + HEX


@pytest.mark.row("S6")
@pytest.mark.parametrize("digest", [None, "", HEX, "sha256:" + HEX[:-1], "sha512:" + HEX, "sha256:" + HEX + "\n", 5])
def test_s6_what_is_no_digest_has_no_short_form(digest: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^DIGEST-INVALID: "):
        use(short_digest)(digest)


@pytest.mark.row("S6")
@pytest.mark.parametrize("length", [0, 5, 65, -1, True, "12", None])
def test_s6_a_digest_is_not_shortened_to_nothing(length: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="length"):
        use(short_digest)("sha256:" + HEX, length)


@pytest.mark.row("S6")
@pytest.mark.parametrize(
    ("size", "decimal", "binary"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1000, "1.00 kB", "1000 B"),
        (1024, "1.02 kB", "1.00 KiB"),
        (999_994, "999.99 kB", "976.56 KiB"),
        (999_995, "1.00 MB", "976.56 KiB"),
        (1_048_575, "1.05 MB", "1.00 MiB"),
        (98_363_007, "98.36 MB", "93.81 MiB"),
        (4_372_824_384, "4.37 GB", "4.07 GiB"),
        # A float would round this up to 9.01 PB.
        (9_004_999_999_999_999, "9.00 PB", "8.00 PiB"),
        (1 << 70, "1180.59 EB", "1024.00 EiB"),
    ],
)
def test_s6_sizes_are_exact_and_say_their_unit(size: int, decimal: str, binary: str) -> None:
    assert use(human_size)(size) == decimal
    assert use(human_size)(size, "binary") == binary
    assert use(human_size)(size, "both") == "{0} ({1})".format(decimal, binary)


@pytest.mark.row("S6")
@pytest.mark.parametrize(("size", "units"), [(-1, "both"), (1.5, "both"), ("4 GB", "both"), (True, "both"), (1, "GB")])
def test_s6_what_is_no_size_is_refused(size: Any, units: str) -> None:
    with pytest.raises(AnsibleFilterError, match="human_size"):
        use(human_size)(size, units)


@pytest.mark.row("S1")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("mistral", "registry.ollama.ai/library/mistral:latest", True),
        ("Mistral:7B", "mistral:7b", True),
        ("https://registry.ollama.ai/library/m:1", "m:1", True),
        ("mistral:7b", "mistral:latest", False),
        ("mistral:7b", "somebody/mistral:7b", False),
        ("hf.co/a/m:1", "a/m:1", False),
    ],
)
def test_s1_two_names_of_one_model(one: str, other: str, same: bool) -> None:
    assert use(same_model)(one, other) is same
    assert use(same_model)(other, one) is same


@pytest.mark.row("S1")
@pytest.mark.parametrize("name", ["", None, "a@sha256:" + HEX, "m:cloud", "http://h/n/m"])
def test_s1_what_is_no_name_is_the_same_as_nothing(name: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^NAME-"):
        use(same_model)(name, "mistral")
    with pytest.raises(AnsibleFilterError, match=r"^NAME-"):
        use(same_model)("mistral", name)


@pytest.mark.row("S1")
def test_s1_a_reference_is_given_whole_and_short() -> None:
    parts = use(model_reference)("https://Registry.Ollama.AI/library/mistral:7b")
    assert (parts["full"], parts["short"]) == ("registry.ollama.ai/library/mistral:7b", "mistral:7b")


@pytest.mark.row("S8")
def test_s8_plays_get_findings_and_a_check_of_a_version() -> None:
    table = yaml.safe_load(TABLE_FILE.read_text(encoding="utf-8"))
    assert use(cve_findings)("0.32.10", table) == []
    assert use(cve_checks)("0.32.10", table)[0]["status"] == "passed"
    (finding,) = use(cve_findings)("0.31.0", table, "image")
    assert (finding["code"], finding["severity"], finding["subject"]) == ("OLLAMA-VERSION-FLOOR", "high", "image")
    assert use(cve_checks)("0.31.0", table)[0]["status"] == "failed"
    assert use(cve_checks)("0.0.0", table) == [
        {
            "id": "ollama-version-floor",
            "status": "unknown",
            "evidence": "0.0.0, lowest accepted 0.32.10, 16 vulnerabilities in the table",
        }
    ]


@pytest.mark.row("S8")
@pytest.mark.parametrize("table", [None, {}, "floor: 0.32.10", {"floor": "0.32.10", "vulnerabilities": []}])
def test_s8_a_bad_table_is_an_error_and_never_a_pass(table: Any) -> None:
    for plugin in (cve_findings, cve_checks):
        with pytest.raises(AnsibleFilterError, match=r"^OLLAMA-CVE-TABLE: "):
            use(plugin)("0.33.0", table)


# --- indicators (what they say is tested where they are made)


@pytest.mark.row("S7")
def test_s7_plays_get_indicators_and_a_check(model: Callable[..., Any]) -> None:
    made = model("test:1", b"weights")
    blobs = parse_manifest(made.manifest, "test:1").blobs.values()
    entry = made.entry(blobs=[blob.as_dict() for blob in blobs])
    weights = {"size": len(b"weights"), "organization": "Test Labs"}
    policy = {"authors": ["test labs"]}
    assert use(ioc_findings)(entry, weights, policy) == []
    assert use(ioc_checks)([])[0]["status"] == "passed"
    found = use(ioc_findings)(entry, {**weights, "size": 8}, policy)
    assert [(item["code"], item["severity"]) for item in found] == [("IOC-SIZE-CHANGED", "high")]
    assert use(ioc_checks)(found)[0]["status"] == "failed"
    first = use(ioc_findings)(entry, weights, policy, first=True)
    assert [item["code"] for item in first] == ["IOC-SIZE-UNKNOWN"]
    assert use(ioc_checks)(first)[0]["status"] == "unknown"
    late = use(ioc_findings)(entry, weights, policy, published="2026-02-01")
    assert [item["code"] for item in late] == ["IOC-DATE-BEFORE-PUBLISHED"]
    # Findings of other kinds belong to other checks.
    assert use(ioc_checks)([{**found[0], "code": "STORE-DIGEST-MISMATCH"}])[0]["status"] == "passed"


@pytest.mark.row("S7")
@pytest.mark.parametrize(
    "arguments",
    [
        (None, {}),
        ({}, None),
        ({}, {}, {"unheard": []}),
        ({}, {}, {}, False, "0.1"),
        ({}, {}, {}, False, 1.5),
        ({}, {}, {}, False, 0.1, "yesterday"),
    ],
)
def test_s7_what_cannot_be_judged_is_an_error(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AnsibleFilterError):
        use(ioc_findings)(*arguments)


@pytest.mark.row("S7")
@pytest.mark.parametrize("findings", [None, "IOC", [None], [{}], [{"code": "IOC-X"}]])
def test_s7_no_list_of_findings_is_no_pass(findings: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="ioc_checks"):
        use(ioc_checks)(findings)


@pytest.mark.row("S7")
def test_s7_plays_get_what_the_proxy_refused() -> None:
    log = '{"method": "CONNECT", "host": "evil.example", "port": "443", "result": "TCP_DENIED"}\nhalf a li'
    found = use(egress_findings)(log, ["registry.ollama.ai"])
    assert [(item["code"], item["subject"]) for item in found] == [
        ("IOC-EGRESS-DENIED", "evil.example:443"),
        ("IOC-EGRESS-LOG", "egress proxy"),
    ]
    assert use(egress_findings)("", []) == []
    for log, hosts in ((None, []), (b"", []), ("", "registry.ollama.ai"), ("", [5])):
        with pytest.raises(AnsibleFilterError, match="egress_findings"):
            use(egress_findings)(log, hosts)
