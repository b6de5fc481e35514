# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what chosen tasks said in the log of an ansible-playbook run.

Usage: show.py LOG TITLE...

Prints the messages of every `debug` task whose name contains one of the titles (case does not matter).
The log is one that the default callback wrote with ``result_format=yaml``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_TASK = re.compile(r"^TASK \[(?P<name>.*?)\] \**")
_RESULT = re.compile(r"^ok: \[(?P<host>[^\]]+)\] =>\s*(?P<rest>.*)$")


def messages(lines: list[str], titles: list[str]) -> Iterator[Any]:
    """Yield each result's ``msg`` under the wanted tasks, in the order of the log."""
    wanted = False
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if task := _TASK.match(line):
            wanted = any(title.lower() in task["name"].lower() for title in titles)
            continue
        result = _RESULT.match(line)
        if not (wanted and result):
            continue
        block = []
        while position < len(lines) and (
            lines[position].startswith((" ", "\t")) or not lines[position].strip()
        ):
            block.append(lines[position])
            position += 1
        value = yaml.safe_load("\n".join(block))
        if isinstance(value, dict) and "msg" in value:
            yield value["msg"]


def main(arguments: list[str]) -> int:
    """Print the messages, one line of each list a line, indented under the step that ran them."""
    lines = Path(arguments[0]).read_text(encoding="utf-8", errors="replace").splitlines()
    for message in messages(lines, arguments[1:]):
        for text in message if isinstance(message, list) else str(message).splitlines():
            print(f"       {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
