# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running attacks from a place: each is tried once, judged against what its file expects, and looked for in traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .attack import NOT_OBSERVABLE, NOT_SEEN, UNKNOWN, Attack, as_expected, moot, parameters_for
from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters
from .attack_places import Place
from .attack_traces import Traces
from .engine import EngineError
from .findings import clean_text
from .nsenter import EnterError
from .procfs import ProcError


def run_attacks(
    origin: str,
    attacks: list[Attack],
    targets: Mapping[str, Any],
    timeout: float,
    place: Place,
    traces: Optional[Traces] = None,
) -> list[dict[str, Any]]:
    """Run attacks and return {id, tried, expected, outcome, evidence, seen, trace, seen_by} for each.

    `timeout` (seconds) is each attack's own. Without `traces` what is observable stays unknown: then somebody else
    reads them. Never raises for what an attack meets.
    """
    results = []
    for attack in attacks:
        parameters = parameters_for(attack, origin, targets, timeout)
        before = traces.marks(attack.seen_by) if traces else {}
        counted: dict[str, int] = {}
        reason = moot(attack, parameters, targets, origin)
        if reason:
            outcome, evidence = REFUSED, reason
            seen, trace = NOT_OBSERVABLE, "nothing was sent"
        else:
            outcome, evidence, counted = _run(attack, parameters, timeout, place)
            outcome, evidence = as_expected(attack, outcome, evidence)
            seen, trace = _seen(attack, outcome, evidence, traces, before, counted)
        results.append(
            {
                "id": attack.id,
                "tried": attack.tries,
                "expected": REFUSED,
                "outcome": outcome,
                "evidence": clean_text(evidence),
                "seen": seen,
                "trace": clean_text(trace),
                "seen_by": ["{0}:{1}".format(kind, what) for kind, what in attack.seen_by],
            }
        )
    return results


def _seen(
    attack: Attack,
    outcome: str,
    evidence: str,
    traces: Optional[Traces],
    before: Mapping[str, Any],
    counted: Mapping[str, int],
) -> tuple[str, str]:
    if not attack.seen_by:
        return NOT_OBSERVABLE, attack.not_observable
    if outcome == ERROR:
        return UNKNOWN, "nothing was tried that could be seen"
    if traces is None:
        return UNKNOWN, "read on the attacked host"
    seen, trace = traces.seen(attack, before, counted)
    silent = [reason for word, reason in attack.not_observable_if if word in evidence]
    return (NOT_OBSERVABLE, silent[0]) if seen == NOT_SEEN and silent else (seen, trace)


def _run(attack: Attack, parameters: Parameters, timeout: float, place: Place) -> tuple[str, str, dict[str, int]]:
    try:
        place.prepare(attack.function, parameters)
        # Twice the time: the attempt ends by itself first, the killing is for what hangs.
        answer = place.attempt(attack.function, parameters, 2 * timeout + 1)
        outcome, evidence = str(answer[0]), str(answer[1])
        counted = dict(answer[2]) if len(answer) > 2 else {}
    except (EnterError, EngineError, ProcError, OSError, ValueError, IndexError, KeyError, TypeError) as error:
        return ERROR, str(error), {}
    return (outcome if outcome in (REFUSED, SUCCEEDED) else ERROR), evidence, counted
