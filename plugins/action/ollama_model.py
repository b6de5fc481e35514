# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module ollama_model, and show how far a long download is.

The module runs as a job on the host (as with async), so that the connection is free to ask how far it is. What it
returns, and how it fails, is the same as without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.vars import merge_hash

from ansible_collections.rampart.ollama.plugins.plugin_utils import model_progress

# Less than this is there before anybody wonders.
LONG_BYTES = 64 * 1024 * 1024
SHOW_SECONDS = 10.0
# How long the host may be out of reach before that is an error.
LOST_SECONDS = 120.0
# What the job may take longer than the fetch itself: copying and hashing on a slow disk.
PUBLISH_SECONDS = 24 * 3600
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_STATUS, _INFO = "ansible.legacy.async_status", "rampart.ollama.ollama_model_fetch_info"
# What is said of the job, not by the module.
_OF_THE_JOB = ("ansible_job_id", "finished", "started", "results_file")


class ActionModule(ActionBase):
    """The module ollama_model, with a line about its download every few seconds."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        variables = task_vars or {}
        if self._is_worth_watching():
            done = self._watched(variables)
        else:
            wrap_async = self._task.async_val and not getattr(self._connection, "has_native_async", False)
            done = self._execute_module(task_vars=variables, wrap_async=wrap_async)
        merged: dict[str, Any] = merge_hash(result, done)
        if not self._task.async_val:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return merged

    def _is_worth_watching(self) -> bool:
        """Whether there may be something to show, and nothing that forbids a job."""
        asked = self._task.args
        return (
            not self._task.async_val
            and not self._task.check_mode
            and not self._task.no_log
            and not getattr(self._connection, "has_native_async", False)
            and bool(boolean(asked.get("progress", True), strict=False))
            and asked.get("state", "present") == "present"
            and asked.get("source", "registry") == "registry"
            and _size_of(asked.get("approval")) >= LONG_BYTES
        )

    def _watched(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Run the module as a job; return its result when it has ended."""
        limit = _seconds(self._task.args.get("timeout", 3600)) + PUBLISH_SECONDS
        started = self._start(limit, variables)
        job, file = started.get("ansible_job_id"), started.get("results_file")
        if not job or not file:
            # Nothing was started: there is no place for a job, or none that can be written.
            self._display.vv(f"no job could be started: {started.get('msg', 'no reason given')}")
            plain: dict[str, Any] = self._execute_module(task_vars=variables)
            return plain
        arguments = {"jid": str(job), "_async_dir": os.path.dirname(str(file))}
        result = self._wait(arguments, time.monotonic() + limit, variables)
        try:
            self._ask(_STATUS, {**arguments, "mode": "cleanup"}, variables)
        except AnsibleConnectionFailure as error:
            # The result is here: a file of a few lines that stays behind does not make it a failure.
            self._display.vv(f"the job's file could not be removed: {error}")
        return _of_the_module(result)

    def _start(self, limit: int, variables: dict[str, Any]) -> dict[str, Any]:
        self._task.async_val = limit
        try:
            started: dict[str, Any] = self._execute_module(task_vars=variables, wrap_async=True)
        finally:
            self._task.async_val = 0
        return started

    def _wait(self, arguments: dict[str, Any], deadline: float, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the job's result; show lines meanwhile. Raises AnsibleConnectionFailure, AnsibleError."""
        pause, shown, heard = _FIRST_PAUSE, time.monotonic(), time.monotonic()
        lines = Lines(self._name(), variables.get("inventory_hostname"))
        while True:
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            now = time.monotonic()
            try:
                answer = self._ask(_STATUS, arguments, variables)
                if answer.get("finished"):
                    return answer
                if not answer.get("failed"):
                    heard = now
                if now - shown >= SHOW_SECONDS:
                    shown = now
                    line = lines.about(self._ask(_INFO, self._of_the_fetch(), variables))
                    if line:
                        self._display.display(line)
            except AnsibleConnectionFailure:
                if now - heard > LOST_SECONDS:
                    raise
                self._display.vv("the host is out of reach; its job goes on, trying again")
                self._connection.reset()
            if now - heard > LOST_SECONDS or now > deadline:
                raise AnsibleError(
                    f"FETCH-JOB-LOST: {self._name()}: nothing was heard of the job on the host for "
                    f"{now - heard:.0f} s. It may still run; run the play again when it has ended."
                )

    def _ask(self, module: str, arguments: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=module, module_args=dict(arguments), task_vars=variables
        )
        return answer

    def _of_the_fetch(self) -> dict[str, Any]:
        asked = self._task.args
        return {"quarantine": asked.get("quarantine"), "digest": asked["approval"].get("digest")}

    def _name(self) -> str:
        return str(self._task.args.get("name", ""))[:200]


class Lines:
    """What is said, one line after another, about a model's way in."""

    def __init__(self, name: str, host: Any) -> None:
        self._name = f"[{host}] {name}" if host else name
        self._began = False
        self._ended = False

    def about(self, answer: Mapping[str, Any]) -> str:
        """Return a line for an answer of ollama_model_fetch_info, an empty text when there is nothing to say."""
        seen = answer.get("progress")
        if isinstance(seen, Mapping) and not answer.get("failed"):
            self._began = True
            return model_progress.line(self._name, seen)
        if self._began and not self._ended and not answer.get("failed"):
            self._ended = True
            return f"{self._name}: fetched, now copied into the store and hashed there"
        return ""


def _size_of(approval: Any) -> int:
    """Return the bytes an approval names; 0 when it cannot be told, which the module then says."""
    blobs = approval.get("blobs") if isinstance(approval, Mapping) else None
    sizes = [blob.get("size") for blob in blobs if isinstance(blob, Mapping)] if isinstance(blobs, list) else []
    return sum(size for size in sizes if isinstance(size, int) and size > 0)


def _seconds(value: Any) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        # The module says so.
        return 0


def _of_the_module(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's result as the module gave it."""
    result = {key: value for key, value in answer.items() if key not in _OF_THE_JOB}
    if "data" not in result and "outdata" not in result:
        # A module that ended as it should is not asked for its standard error, nor is it without a job.
        for key in ("stderr", "stderr_lines"):
            result.pop(key, None)
    return result
