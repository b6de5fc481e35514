"""Row I2: packets through the rule set of role firewall, on a laboratory host, in network namespaces of their own.

Each protection is taken out of the rule set in turn: then the packet it stops comes through.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "unit" / "roles"))

from firewall_rules import render

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.row("I2")
OPEN = {
    "egress to tls",
    "egress to dns by udp",
    "egress to dns by tcp",
    "container to http",
    "another account to the outside",
}
TOLD = "rampart-egress-refused: ,rampart-forward-refused: ,rampart-input-refused: "


def ask(rules: str, *questions: str) -> dict[str, str]:
    """Load the rules in namespaces on the laboratory's host d13 and return the answers of netns_guest.py.

    Without `questions` all of them are asked.
    """
    config = ROOT / ".lab" / "ssh_config"
    if not config.exists():
        pytest.fail("MUTATION-NO-LAB: start the laboratory (tests/lab/lab.py up)", pytrace=False)
    word = base64.b64encode(rules.encode()).decode()
    done = subprocess.run(
        [
            "ssh",
            "-F",
            str(config),
            "d13",
            "sudo",
            "unshare",
            "-n",
            "python3",
            "-",
            word,
            shlex.quote(",".join(questions)),
        ],
        input=(ROOT / "tests" / "mutations" / "netns_guest.py").read_bytes(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def test_the_bridge_reaches_tls_and_dns_and_nothing_reaches_it() -> None:
    answers = ask(render())
    assert answers.pop("upload") == "bounded"
    assert answers.pop("told") == TOLD
    wrong = {
        name: answer
        for name, answer in answers.items()
        if answer != ("open" if name.split(",")[0] in OPEN else "refused")
    }
    assert wrong == {}
    assert len(answers) == 36


def without(text: str) -> Callable[[str], str]:
    return lambda rules: "\n".join(line for line in rules.splitlines() if text not in line) + "\n"


@pytest.mark.parametrize(
    ("change", "opened"),
    [
        (without('iifname "br-rampart-eg" jump from_egress'), "egress to http"),
        (without('oifname "br-*" jump egress_refused'), "egress to a container"),
        (without('\t\toifname "br-rampart-eg" jump egress_refused'), "container to egress"),
        (without("meta skuid 10006"), "edge to the outside"),
        (lambda rules: rules.replace("tcp dport 443 counter", "th dport 443 counter"), "egress to quic"),
        (
            lambda rules: without('iifname "br-rampart-eg" jump egress_refused')(
                rules.replace('iifname "br-*" jump from_containers', 'iifname "br-*" accept')
            ),
            "egress to the host",
        ),
    ],
    ids=["own-rules", "other-containers", "into-it", "edge", "tcp-only", "host"],
)
def test_without_its_rule_the_packet_comes_through(change: Callable[[str], str], opened: str) -> None:
    answers = ask(change(render()), opened)
    assert {answers[f"{opened}, IPv4"], answers[f"{opened}, IPv6"]} == {"open"}


def test_without_the_bound_an_upload_is_open() -> None:
    assert ask(without("jump egress_upload")(render()), "upload")["upload"] == "open"


def test_named_resolvers_are_the_only_ones() -> None:
    answers = ask(render(firewall_egress_resolvers=["10.9.3.2"]), "egress to dns by udp")
    assert answers["egress to dns by udp, IPv4"] == "open"
    assert answers["egress to dns by udp, IPv6"] == "refused"
