# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor's verb `host`, and the way back: quarantine and release."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import watch_host
from watch_host import OLLAMA, OTHER, MemoryEngine, container

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_config import quarantine_problem
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_host import HostActs, NftError, Quarantine
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_plan import RefusedError
from ansible_collections.rampart.ollama.plugins.module_utils.watch_records import (
    new_name,
    prune,
    read_record,
    record_names,
    write_record,
)
from ansible_collections.rampart.ollama.plugins.module_utils.watch_release import Releaser, list_records

pytestmark = pytest.mark.row("I5")
CRITICAL = Finding("ISO-LISTENER", Severity.CRITICAL, "port 11434", "listens on 0.0.0.0", "Stop it.")
ABSENT = Finding("ISO-CONTAINER-ABSENT", Severity.HIGH, "rampart-ollama", "its state is exited", "Start it.")
RULES = """
add table inet rampart_quarantine
delete table inet rampart_quarantine
table inet rampart_quarantine {
  chain input { type filter hook input priority -10; policy drop; iifname "lo" accept }
}
"""
# An nft that keeps the names of tables in a file, says what it was asked, and refuses what it is told to refuse.
NFT = """#!/bin/sh
echo "$@" >> {0}/asked
[ -z "$SECRET_OF_THE_CALLER" ] || echo leaked >> {0}/asked
[ ! -e {0}/broken ] || {{ echo "Error: syntax error" >&2; exit 1; }}
case "$1" in
-c) ;;
-f) echo rampart_quarantine > {0}/tables ;;
list) echo "table ip nat"; sed 's/^/table inet /' {0}/tables 2>/dev/null; true ;;
add*) rm -f {0}/tables ;;
esac
"""


@pytest.fixture
def quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quarantine:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "hunter2")
    program = tmp_path / "nft"
    program.write_text(NFT.format(tmp_path))
    program.chmod(0o755)
    rules = tmp_path / "quarantine.nft"
    rules.write_text(RULES)
    rules.chmod(0o600)
    return Quarantine(str(rules), str(program))


def asked(quarantine: Quarantine) -> list[str]:
    path = Path(quarantine.program).parent / "asked"
    return path.read_text().splitlines() if path.exists() else []


def host(directory: Path, quarantine: Quarantine, *findings: Finding) -> HostActs:
    return HostActs(watch_host.config(directory), quarantine, lambda: list(findings))


def test_i5_a_host_with_a_critical_finding_is_cut_off(tmp_path: Path, quarantine: Quarantine) -> None:
    plan = host(tmp_path, quarantine, CRITICAL).host({})
    assert not quarantine.in_force()
    assert plan.act() == ["loaded nftables table inet rampart_quarantine"]
    assert quarantine.in_force()
    assert plan.release == {"action": "remove-quarantine"}
    assert "leaked" not in asked(quarantine)
    # What was checked was loaded, and checked first.
    assert asked(quarantine).index("-c -f " + quarantine.file) < asked(quarantine).index("-f " + quarantine.file)


def test_i5_the_sensors_word_alone_cuts_no_host_off(tmp_path: Path, quarantine: Quarantine) -> None:
    high = Finding("ISO-SETTINGS", Severity.HIGH, "rampart-ollama", "a proxy is set", "Unset it.")
    with pytest.raises(RefusedError, match="nothing critical"):
        host(tmp_path, quarantine, high).host({})
    assert not quarantine.in_force()


def test_i5_a_host_that_is_cut_off_stays_as_it_is(tmp_path: Path, quarantine: Quarantine) -> None:
    quarantine.load()
    with pytest.raises(RefusedError, match="already"):
        host(tmp_path, quarantine, CRITICAL).host({})


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "flush ruleset\n" + RULES,
        RULES + "flush table inet rampart\n",
        RULES + "delete table inet rampart\n",
        RULES + "table inet rampart { }\n",
        RULES + "table ip nat { chain x { } }\n",
        RULES + 'include "/tmp/x"\n',
        RULES + "add rule inet rampart input accept\n",
        RULES + "insert rule inet rampart_quarantine input accept\n",
        RULES + "add table rampart\n",
        "define x = 1\n" + RULES,
    ],
)
def test_i5_rules_that_touch_anything_else_are_never_loaded(tmp_path: Path, quarantine: Quarantine, rules: str) -> None:
    assert quarantine_problem(rules)
    Path(quarantine.file).write_text(rules)
    with pytest.raises(RefusedError, match="WATCH-QUARANTINE-RULES"):
        host(tmp_path, quarantine, CRITICAL).host({})
    assert not quarantine.in_force()


def test_i5_rules_that_others_can_write_or_nft_refuses_are_never_loaded(tmp_path: Path, quarantine: Quarantine) -> None:
    Path(quarantine.file).chmod(0o622)
    with pytest.raises(RefusedError, match="others than root"):
        host(tmp_path, quarantine, CRITICAL).host({})
    Path(quarantine.file).chmod(0o600)
    (tmp_path / "broken").touch()
    with pytest.raises(FindingError, match="syntax error"):
        quarantine.check()
    with pytest.raises(NftError):
        quarantine.load()
    with pytest.raises(FindingError, match="No such file"):
        Quarantine(str(tmp_path / "none"), quarantine.program).check()


def test_the_quarantines_own_rules_pass() -> None:
    assert quarantine_problem(RULES) == ""
    assert quarantine_problem(RULES + "# flush ruleset, include, and table inet other are words here\n") == ""


# --- release ----------------------------------------------------------------------------------------------
def record(verb: str = "container", **release: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "verb": verb,
        "time": "2026-01-01T00:00:00Z",
        "finding": CRITICAL.as_dict(),
        "outcome": "done",
        "reason": "stopped it",
        "release": release or {"action": "none"},
        "released": None,
    }


def stopped(identity: str = OLLAMA, name: str = "rampart-ollama", **host_config: Any) -> dict[str, Any]:
    made = container(identity, name, **host_config)
    made["State"].update(Running=False, Status="exited")
    made["HostConfig"]["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    return made


def start_of(identity: str = OLLAMA, policy: str = "unless-stopped") -> dict[str, Any]:
    restart = {"Name": policy, "MaximumRetryCount": 0}
    return {"action": "start-container", "container": identity, "name": "x", "restart_policy": restart}


Make = Callable[..., Releaser]


@pytest.fixture
def releaser(tmp_path: Path, quarantine: Quarantine) -> Make:
    directory = tmp_path / "records"
    directory.mkdir(mode=0o700)

    def make(engine: MemoryEngine, *failing: Finding, check_mode: bool = False, bad: str = "") -> Releaser:
        return Releaser(
            str(directory),
            engine,  # type: ignore[arg-type]
            quarantine,
            lambda: list(failing),
            lambda _inspect: [bad] if bad else [],
            check_mode,
        )

    return make


def put(made: Releaser, verb: str, **release: Any) -> str:
    name = new_name(verb, 1_700_000_000 + len(record_names(made.directory)))
    write_record(made.directory, name, record(verb, **release))
    return name


def test_i5_a_release_restores_what_was_there_and_marks_the_record(releaser: Make) -> None:
    engine = MemoryEngine(stopped())
    made = releaser(engine, ABSENT)
    name = put(made, "container", **start_of())
    done = made.release(None, "me").done
    assert done == {name: ["set the restart policy to unless-stopped", "started the container"]}
    assert engine.acts == [("update", OLLAMA, "unless-stopped"), ("start", OLLAMA)]
    kept = read_record(made.directory, name)
    assert (kept["released"]["by"], kept["released"]["forced"]) == ("me", False)
    assert stat.S_IMODE(os.stat(os.path.join(made.directory, name)).st_mode) == 0o600
    # A second time there is nothing to do.
    assert made.release(None, "me").done == {}
    assert made.release([name], "me").done == {}
    assert len(engine.acts) == 2


def test_i5_no_release_while_the_isolation_fails_unless_a_person_forces_it(
    releaser: Make, quarantine: Quarantine
) -> None:
    engine = MemoryEngine(stopped())
    made = releaser(engine, CRITICAL)
    put(made, "container", **start_of())
    put(made, "host", action="remove-quarantine")
    quarantine.load()
    with pytest.raises(FindingError, match="WATCH-RELEASE-UNSAFE") as caught:
        made.release(None, "me")
    assert "ISO-LISTENER" in caught.value.finding.evidence
    assert engine.acts == []
    assert quarantine.in_force()
    assert len(made.release(None, "me", force=True).done) == 2
    assert not quarantine.in_force()
    assert all(item["released"]["forced"] for item in list_records(made.directory).records.values())


def test_i5_a_container_that_would_violate_again_is_not_started(releaser: Make, quarantine: Quarantine) -> None:
    engine = MemoryEngine(stopped(OTHER, "x", Privileged=True))
    made = releaser(engine, bad="it is privileged")
    put(made, "host", action="remove-quarantine")
    put(made, "container", **start_of(OTHER))
    quarantine.load()
    with pytest.raises(FindingError, match="it is privileged"):
        made.release(None, "me")
    assert engine.acts == []
    # The quarantine goes last: it is in force as long as anything before it fails.
    assert quarantine.in_force()


def test_i5_check_mode_changes_nothing(releaser: Make, quarantine: Quarantine) -> None:
    engine = MemoryEngine(stopped())
    made = releaser(engine, check_mode=True)
    put(made, "container", **start_of())
    put(made, "host", action="remove-quarantine")
    quarantine.load()
    assert len(made.release(None, "me").done) == 2
    assert engine.acts == []
    assert quarantine.in_force()
    assert len(list_records(made.directory).open_names) == 2


@pytest.mark.parametrize(
    "release",
    [
        {**start_of(), "container": "../../x"},
        {**start_of(), "restart_policy": {"Name": "sometimes"}},
        {**start_of(), "restart_policy": None},
    ],
)
def test_i5_a_damaged_record_starts_nothing(releaser: Make, release: dict[str, Any]) -> None:
    engine = MemoryEngine(stopped())
    made = releaser(engine)
    put(made, "container", **release)
    with pytest.raises(FindingError, match="WATCH-RELEASE-FAILED"):
        made.release(None, "me")
    assert engine.acts == []


def test_i5_nothing_is_reconnected_and_nobodys_process_comes_back(releaser: Make) -> None:
    engine = MemoryEngine(container(OLLAMA, "rampart-ollama"))
    made = releaser(engine)
    put(made, "network")
    put(made, "process")
    assert set(map(tuple, made.release(None, "me").done.values())) == {("nothing to restore",)}
    assert engine.acts == []


def test_a_record_that_is_none_is_a_finding_and_is_not_followed(tmp_path: Path, releaser: Make) -> None:
    made = releaser(MemoryEngine())
    good = put(made, "host")
    Path(made.directory, new_name("host", 1)).write_text("{")
    write_record(str(tmp_path), "elsewhere.json", record("host"))
    os.symlink(tmp_path / "elsewhere.json", os.path.join(made.directory, new_name("host", 2)))
    Path(made.directory, new_name("host", 3)).write_bytes(b" " * 100_000)
    os.mkfifo(os.path.join(made.directory, new_name("host", 4)))
    Path(made.directory, "notes.txt").write_text("mine")
    listing = list_records(made.directory)
    assert list(listing.records) == [good]
    assert [item.code for item in listing.findings] == ["WATCH-RECORD-INVALID"] * 4
    with pytest.raises(FindingError, match="WATCH-RELEASE-UNKNOWN"):
        made.release(["../../etc/passwd"], "me")


def test_old_records_go_when_they_are_released_and_open_ones_never(tmp_path: Path) -> None:
    for number in range(6):
        made = record("host")
        made["released"] = None if number == 0 else {"by": "me"}
        write_record(str(tmp_path), new_name("host", number), made)
    names = record_names(str(tmp_path))
    prune(str(tmp_path), 3)
    assert record_names(str(tmp_path)) == [names[0], *names[4:]]
