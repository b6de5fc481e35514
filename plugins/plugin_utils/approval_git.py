# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Committing the approvals file, that file only, and pushing when asked to (row S6)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse

from .approval_sign import asking_environment
from .approvals import Registry, load_registry

QUICK_SECONDS = 30
# A commit may ask a person for a token, a push for the network.
SLOW_SECONDS = 300
# Set inside a hook or an alias of git, these would lead to another repository than the file's.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX")


class Committer:
    """Commits one file in the repository it lies in.

    Making one raises FindingError before anything is written: APPROVAL-GIT (git is not installed, or the file lies
    in no repository).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        program = shutil.which("git")
        if program is None:
            raise self._refusal("git is not installed", "Install git, or pass commit: false and commit by hand.")
        self._program = program
        status, _out, said = self._git("rev-parse", "--show-toplevel")
        if status:
            raise self._refusal(said or "it lies in no repository", "Keep the file in git, or pass commit: false.")
        # As it was found: the question is what a run changes.
        self.pending = bool(self._state())

    def _state(self) -> str:
        return self._git("status", "--porcelain", "--ignored", "--", self.path.name)[1]

    def require_only(self, text: str, ours: Iterable[str]) -> None:
        """Raise FindingError (APPROVAL-UNCOMMITTED) when `text` departs from the last commit in more than `ours`.

        `ours` are references of entries, and digests of revocations, that may differ: a commit says what it is about
        and nothing else.
        """
        status, committed, _said = self._git("show", "HEAD:./{0}".format(self.path.name))
        if status:
            return
        try:
            known = _items(load_registry(committed))
        except FindingError:
            # What was broken in the last commit and can be read now is no approval that slips in.
            return
        allowed = set(ours)
        now = _items(load_registry(text))
        other = sorted(key for key in {*known, *now} - allowed if known.get(key) != now.get(key))
        if other:
            raise refuse(
                "APPROVAL-UNCOMMITTED",
                str(self.path),
                "it has changes that nobody committed: {0}".format(clean_text(", ".join(other), 200)),
                "Commit or undo them, then run again. Nothing was written.",
            )

    def commit(self, message: str) -> str:
        """Commit the file, whatever else is staged, and return the commit's id; empty when there is nothing to commit.

        Signed when user.signingkey is configured. Raises FindingError (APPROVAL-COMMIT): the file is written, and
        the index is as it was.
        """
        name = self.path.name
        state = self._state()
        if not state:
            return ""
        added = state.startswith(("??", "!!"))
        if added:
            self._require("add", "--intent-to-add", "--", name)
        status, key, _said = self._git("config", "--get", "user.signingkey")
        signing = ["-S"] if not status and key.strip() else []
        try:
            self._require("commit", "--quiet", "--only", *signing, "--file=-", "--", name, text=message)
        except FindingError:
            if added:
                self._git("rm", "--cached", "--quiet", "--", name)
            raise
        _status, commit, _said = self._git("rev-parse", "HEAD")
        return commit.strip()

    def push(self) -> None:
        """Push the current branch to where it is pushed to. Raises FindingError (APPROVAL-PUSH): it is committed."""
        status, _out, said = self._git("push", "--quiet", slow=True)
        if status:
            raise refuse(
                "APPROVAL-PUSH",
                str(self.path),
                said or "git push failed",
                "The approval is committed here. Push it by hand, or run again.",
            )

    def _require(self, *arguments: str, text: str = "") -> None:
        status, out, said = self._git(*arguments, text=text, slow=True)
        if status:
            raise refuse(
                "APPROVAL-COMMIT",
                str(self.path),
                said or clean_text(out, 200) or "git ended with status {0}".format(status),
                "The entry is written and not committed. Mend what git says, then run again.",
            )

    def _git(self, *arguments: str, text: str = "", slow: bool = False) -> tuple[int, str, str]:
        """Run git in the file's directory and return (exit status, output, what it complained of in one line)."""
        command = [self._program, "--literal-pathspecs", "-C", str(self.path.parent), *arguments]
        with asking_environment() as asking:
            environment = {key: value for key, value in asking.items() if key not in _MISLEADING}
            environment["GIT_TERMINAL_PROMPT"] = "0"
            try:
                done = subprocess.run(
                    command,
                    input=text.encode("utf-8"),
                    capture_output=True,
                    timeout=SLOW_SECONDS if slow else QUICK_SECONDS,
                    check=False,
                    env=environment,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return 1, "", clean_text(error, 200)
        said = done.stderr.decode("utf-8", "replace")
        return done.returncode, done.stdout.decode("utf-8", "replace"), clean_text(said, 300)

    def _refusal(self, why: str, remedy: str) -> FindingError:
        return refuse("APPROVAL-GIT", str(self.path), why, remedy)


def _items(registry: Registry) -> dict[str, Any]:
    items: dict[str, Any] = {str(entry.get("reference") or entry["name"]): entry for entry in registry.entries}
    items.update((" ".join(revocation.key).strip(), revocation) for revocation in registry.revocations)
    return items
