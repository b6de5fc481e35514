#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan models with ClamAV, and say how much of each file was read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_scan
short_description: Scan models with ClamAV and say how much of each file was read
version_added: 0.2.0
description:
  - Hands open files to clamd over its Unix socket and returns a verdict for each, with the bytes that were read.
  - clamd answers OK to a file that it did not read because of a limit, and no version of it reads 2 GiB at once. So
    the daemon is tried first (it has to find the EICAR test file and to admit its limits), and a file too large for
    one piece is scanned in windows that overlap. What was not read is C(SCAN-PARTIAL) and never clean.
  - No scanner sees what was trained into weights. C(docs/scan.md) says what a scan cannot see.
  - Changes nothing, ever.
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  paths:
    description: The files to scan. Symbolic links are not followed.
    type: list
    elements: path
  directory:
    description: A directory, a store or the quarantine, of which every file is scanned.
    type: path
  socket:
    description: The Unix socket of clamd.
    type: path
    default: /run/clamav/clamd.ctl
  config:
    description: The configuration file that clamd was started with; its limits are taken from it.
    type: path
    default: /etc/clamav/clamd.conf
  windows:
    description: Whether a file larger than clamd reads at once is scanned in windows. Otherwise it is C(SCAN-PARTIAL).
    type: bool
    default: true
  window_mib:
    description: How large a window is, in MiB. One MiB of it is shared with the next.
    type: int
    default: 1024
  scratch:
    description:
      - A directory for the windows' nameless copies. It needs the space of O(window_mib) for each of O(workers).
      - On the file system of the files themselves, a copy may cost nothing (Btrfs, XFS).
    type: path
    default: /var/tmp
  workers:
    description: How many windows are scanned at once, at most 4; V(0) means one for each processor core.
    type: int
    default: 0
  timeout:
    description: Seconds that the scan of one file or window may take.
    type: int
    default: 900
  max_signature_age:
    description: From how many days on signatures are C(SCAN-STALE).
    type: int
    default: 7
  allow_undated:
    description:
      - Whether a database of local signatures alone will do. It has no date, which otherwise is C(SCAN-STALE) of medium
        severity.
    type: bool
    default: false
  on_failure:
    description:
      - What a finding of medium severity or worse does.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
    type: str
    choices: [fail, report]
    default: fail
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Scan everything in the served store
  rampart.ollama.ollama_model_scan:
    directory: /srv/rampart/store
    scratch: /srv/rampart

- name: Scan one file in smaller windows, and decide in the play
  rampart.ollama.ollama_model_scan:
    paths: [/srv/import/model.gguf]
    window_mib: 256
    on_failure: report
  register: scanned
"""

RETURN = r"""
verdict:
  description: V(passed), or V(failed) from the first finding of medium severity on.
  returned: always
  type: str
  sample: passed
files:
  description:
    - The files, the infected ones first, then those in error, the partial and the clean ones; at most 1000.
    - C(bytes_scanned) of C(size) bytes were read, C(percent) rounded down; C(windows) is in how many pieces, C(note)
      what that leaves unseen, or why it was not read.
  returned: always
  type: list
  elements: dict
  sample:
    - name: blobs/sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      path: /srv/rampart/store/blobs/sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      size: 98362432
      bytes_scanned: 98362432
      percent: 100.0
      verdict: clean
      signature: ""
      windows: 1
      note: ""
counts:
  description: How many files have each verdict.
  returned: always
  type: dict
  sample: {infected: 0, error: 0, partial: 0, clean: 5}
engine:
  description:
    - The daemon that answered, empty when none did. C(limit) is how many bytes it reads at once, C(transport) is
      C(descriptor), or C(stream) when it has to be sent them. C(database_date) is in UTC.
  returned: always
  type: dict
  sample:
    version: 1.4.6
    database: 27800
    database_date: "2026-08-20T08:15:00+00:00"
    limit: 2147483645
    transport: descriptor
findings:
  description:
    - What is wrong, in the order it was found. C(SCAN-INFECTED) is critical; C(SCAN-PARTIAL), C(SCAN-ERROR) (a file
      could not be read), C(SCAN-UNAVAILABLE) (clamd is not there, or cannot be believed) and C(SCAN-SETTINGS-INVALID)
      are high; C(SCAN-STALE) is medium.
  returned: always
  type: list
  elements: dict
  sample:
    - code: SCAN-PARTIAL
      severity: high
      subject: blobs/sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      evidence: "0 of 4372811648 bytes were read (0.0 %): clamd reads files of at most 2147483645 bytes, and windows are
        switched off"
      remedy: "Do not take it for clean: raise clamd's MaxFileSize, MaxScanSize and MaxScanTime, or have it scanned in
        windows."
checks:
  description: The property that was looked for, for the control report.
  returned: always
  type: list
  elements: dict
  sample:
    - id: store-scanned
      status: passed
      evidence: "5 files, 98363007 of 98363007 bytes read: 0 infected, 0 error, 0 partial, 5 clean; ClamAV 1.4.6,
        signatures 27800 of 2026-08-20"
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, summary
from ansible_collections.rampart.ollama.plugins.module_utils.scan import ScanReport, plain_files, scan_files
from ansible_collections.rampart.ollama.plugins.module_utils.scan_engine import ScanSettings

MEBIBYTE = 1024 * 1024
ARGUMENTS = {
    "paths": {"type": "list", "elements": "path"},
    "directory": {"type": "path"},
    "socket": {"type": "path", "default": "/run/clamav/clamd.ctl"},
    "config": {"type": "path", "default": "/etc/clamav/clamd.conf"},
    "windows": {"type": "bool", "default": True},
    "window_mib": {"type": "int", "default": 1024},
    "scratch": {"type": "path", "default": "/var/tmp"},  # noqa: S108 - nameless files only
    "workers": {"type": "int", "default": 0},
    "timeout": {"type": "int", "default": 900},
    "max_signature_age": {"type": "int", "default": 7},
    "allow_undated": {"type": "bool", "default": False},
    "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


def main() -> None:
    """Scan what was named and say what was found."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_one_of=[("paths", "directory")],
        mutually_exclusive=[("paths", "directory")],
    )
    asked = module.params
    try:
        settings = ScanSettings(
            socket=asked["socket"],
            config=asked["config"],
            scratch=asked["scratch"],
            windows=asked["windows"],
            window_bytes=asked["window_mib"] * MEBIBYTE,
            max_age_days=asked["max_signature_age"],
            allow_undated=asked["allow_undated"],
            seconds=asked["timeout"],
            workers=asked["workers"],
        )
        if asked["directory"]:
            paths = plain_files(Path(asked["directory"]))
        else:
            paths = {path: Path(path) for path in asked["paths"]}
        report = scan_files(paths, settings)
    except FindingError as error:
        report = ScanReport.refused(error.finding)
    if report.verdict == "failed" and asked["on_failure"] == "fail":
        module.fail_json(msg=summary(report.findings), **report.as_result())
    module.exit_json(changed=False, **report.as_result())


if __name__ == "__main__":
    main()
