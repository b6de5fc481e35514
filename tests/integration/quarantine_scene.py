# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store with a bad model in it, and a quarantine beside it, for the tests that move it out (row S3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.quarantine import Outcome, clear
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport


class Scene:
    """A store of three models of which two share a license, and a quarantine beside it."""

    def __init__(self, maker: Any, model: Callable[..., Any], root: Path) -> None:
        self.maker, self.quarantine = maker, root / "quarantine"
        self.quarantine.mkdir(mode=0o700)
        self.good = maker.put(model("good:1", b"good" * 100, b"shared", b"own"))
        self.bad = maker.put(model("bad:1", b"bad" * 100, b"shared", b"bad's own"))
        self.other = maker.put(model("other:1", b"other" * 100))
        self.weights = maker.blob(self.bad.weights)

    def look(self) -> VerifyReport:
        models = {made.reference: made for made in self.maker.models}
        approvals = approvals_from_entries([made.entry() for made in models.values()])
        return verify(self.maker.store, approvals, allow_absent=True)

    def clear(self, predict: bool = False) -> Outcome:
        return clear(self.maker.store, self.quarantine, self.look, predict)

    def flip(self) -> bytes:
        data = b"X" + self.bad.blobs[self.bad.weights][1:]
        self.maker.rewrite(self.weights, data)
        return data

    def kept(self) -> dict[str, Any]:
        """What is in the store but the lock."""
        return {name: seen for name, seen in self.maker.tree().items() if name != ".lock"}

    def evidence(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.quarantine)): path.read_bytes()
            for path in sorted(self.quarantine.rglob("*"))
            if path.is_file()
        }
