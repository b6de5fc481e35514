# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the watch says it is: nothing that cannot be seen passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_info import (
    ACTOR,
    CHECK_IDS,
    GATE,
    SENSOR,
    WatchInfo,
    parse_units,
)
from ansible_collections.rampart.ollama.plugins.module_utils.watch_records import (
    new_name,
    write_record,
)

pytestmark = pytest.mark.row("I5")
CRITICAL = Finding("ISO-LISTENER", Severity.CRITICAL, "port 11434", "listens on 0.0.0.0", "Stop it.")


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


# --- how the watch is -------------------------------------------------------------------------------------
SHOWN = "\n\n".join(
    "Id={0}\nActiveState=active\nSubState=running\nExecMainStartTimestamp=@{1}".format(name, 4_000_000_000)
    for name in (SENSOR, ACTOR, GATE)
)


def info(directory: Path, shown: str | None = SHOWN, **config: Any) -> WatchInfo:
    (directory / "metrics").mkdir(exist_ok=True)
    document = {"schema": 1, "metrics_directory": str(directory / "metrics"), **config}
    (directory / "watch.json").write_text(json.dumps(document))
    units = None if shown is None else parse_units(shown)
    return WatchInfo(str(directory), str(directory / "records"), units, 180, lambda: 1_700_000_100.0).look()


def statuses(made: WatchInfo) -> dict[str, str]:
    assert [item.id for item in made.checks if item.id in CHECK_IDS] == list(CHECK_IDS)
    return {item.id.removeprefix("watch-"): item.status for item in made.checks}


def swept(directory: Path, text: str) -> None:
    (directory / "metrics").mkdir(exist_ok=True)
    (directory / "metrics/rampart_watch.prom").write_text("# HELP x\n{0}\n".format(text))


def test_i5_a_watch_at_work_passes(tmp_path: Path) -> None:
    swept(tmp_path, "rampart_watch_last_sweep_timestamp_seconds 1700000040.5")
    made = info(tmp_path)
    assert set(statuses(made).values()) == {"passed"}
    assert made.findings == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("rampart_watch_last_sweep_timestamp_seconds 1699999000", "failed"),
        ("rampart_watch_last_sweep_timestamp_seconds 1800000000", "failed"),
        ("rampart_watch_last_sweep_timestamp_seconds never", "unknown"),
        ("", "unknown"),
    ],
)
def test_i5_an_old_sweep_fails_and_none_is_unknown(tmp_path: Path, text: str, status: str) -> None:
    swept(tmp_path, text)
    made = info(tmp_path)
    assert statuses(made)["sweep-fresh"] == status
    assert "WATCH-SWEEP-OLD" in [item.code for item in made.findings]


def test_i5_a_watch_that_was_stopped_fails(tmp_path: Path) -> None:
    made = info(tmp_path, SHOWN.replace("ActiveState=active", "ActiveState=inactive", 1))
    assert statuses(made)["sensor-running"] == "failed"
    assert statuses(made)["actor-running"] == "passed"
    assert statuses(info(tmp_path, ""))["actor-running"] == "failed"
    assert statuses(info(tmp_path, None))["sensor-running"] == "unknown"


def test_i5_a_policy_that_only_logs_or_is_not_loaded_fails(tmp_path: Path) -> None:
    made = info(tmp_path, policy={"ISO-PRIVILEGED": "log"})
    assert statuses(made)["policy-in-force"] == "failed"
    assert "ISO-PRIVILEGED" in str([item.evidence for item in made.findings])
    assert statuses(info(tmp_path, SHOWN.replace("@4000000000", "@1000000000")))["policy-in-force"] == "failed"
    assert statuses(info(tmp_path, SHOWN.replace("@4000000000", "n/a")))["policy-in-force"] == "unknown"
    assert statuses(info(tmp_path, nonsense=1))["policy-in-force"] == "unknown"


def test_i5_an_open_containment_fails_until_it_is_released(tmp_path: Path) -> None:
    directory = tmp_path / "records"
    directory.mkdir()
    name = new_name("host", 1)
    write_record(str(directory), name, record("host"))
    made = info(tmp_path)
    assert statuses(made)["no-open-containment"] == "failed"
    assert made.listing.summaries()[0]["open"] is True
    write_record(str(directory), name, {**record("host"), "released": {"by": "me"}})
    assert statuses(info(tmp_path))["no-open-containment"] == "passed"
    (directory / new_name("host", 2)).write_text("damaged")
    assert statuses(info(tmp_path))["no-open-containment"] == "unknown"
