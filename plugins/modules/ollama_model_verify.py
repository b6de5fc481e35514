#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify an Ollama store against its approvals, every byte of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_verify
short_description: Verify an Ollama model store against its approvals
version_added: 0.1.0
description:
  - Hashes every blob of a store, referenced or not, and compares each model's manifest, blobs and sizes with
    its approval entry.
  - Looks at owners, modes, symbolic links, hard links, unexpected and unreferenced files, cloud stubs and
    ambiguous manifests.
  - Says which model and which layer is wrong, and which bytes of it, as far as that can be known.
  - Ollama itself verifies nothing when it loads or lists a model.
  - Changes nothing in the store, unless O(on_failure=quarantine). The one file it writes is O(record), and only
    with O(mode=full) outside check mode. That is evidence, not managed state, and reports no change.
attributes:
  check_mode:
    description: Verifies as a real run does, says what O(on_failure=quarantine) would move, and writes
      nothing.
    support: full
  diff_mode:
    description: Lists the files that leave the store, and where they go.
    support: full
  idempotent:
    description: A second run finds nothing more to move.
    support: full
options:
  store:
    description: The store's directory, the one Ollama knows as E(OLLAMA_MODELS).
    type: path
    required: true
  approvals:
    description:
      - The approval entries of the models that belong in the store, as the filter
        P(rampart.ollama.approval#filter) returns them.
      - Of each entry, C(reference), C(digest) and C(blobs) are used.
    type: list
    elements: dict
    required: true
  mode:
    description:
      - Which blobs are read.
      - V(full) reads and hashes every one.
      - V(changed) leaves out a blob that is known to be untouched since it was last read. For a file that is
        sealed with fs-verity the kernel's digest says so. Elsewhere device, inode, size, mtime and ctime in
        O(record) do. What differs in anything is hashed. Manifests, configs, owners and modes are looked at in
        either mode.
      - With V(changed), the check C(store-blobs-verified) is C(unknown) as long as a blob was not read, so that
        no report and no promotion can rest on it.
      - A change beneath the file system (a bad disk, a write to the raw device) leaves the ctime alone. Without
        fs-verity only V(full) sees it.
    type: str
    choices: [full, changed]
    default: full
  record:
    description:
      - Evidence of the last full verification on the host, a file of root's with mode 0600.
      - With O(mode=full) it is written when given, for the blobs that were right. Nothing is written when it is not
        given, or in check mode.
      - With O(mode=changed) it is read, C(/var/lib/rampart/store-record.json) when not given, and never written.
      - It is not believed, and every blob is read, unless it belongs to the user this runs as, has mode 0600 and
        one name, and lies in a directory that only its owner can write.
    type: path
  max_age:
    description:
      - How many seconds a reading stands for a blob with O(mode=changed); after that the blob is read again.
      - A reading that lies in the future (the clock was set back) has every blob read.
    type: int
    default: 604800
  on_failure:
    description:
      - What a failed verification does.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
      - V(quarantine) moves each bad model out of the store into O(quarantine). Its manifest goes first, in one
        step, so that Ollama no longer lists it; then the blobs that no good model uses. The task then fails only
        when findings remain.
      - A model that a server has loaded stays loaded. Restart the server after a model was moved out.
    type: str
    choices: [fail, report, quarantine]
    default: fail
  quarantine:
    description:
      - The directory below which C(store-evidence/) keeps what was moved out, with a JSON of the findings beside.
        Required for O(on_failure=quarantine).
      - It has to be on the store's file system, and nobody but its owner may write it.
    type: path
  policy:
    description:
      - What the layers of a model have to be like, as changes to the built-in policy; its keys are those of
        C(roles/model_store/files/gguf_policy.yml).
      - A finding of medium severity or worse about a layer makes its model not verified.
      - The layers of a model with a missing or wrong blob are not judged. The checks C(store-gguf-structure) and
        C(store-layer-policy) then do not pass.
      - A broken policy fails the task.
    type: dict
    default: {}
  workers:
    description: How many threads hash at once; V(0) means one for each processor core.
    type: int
    default: 0
  allow_absent:
    description: Whether an approved model may be missing from the store without a finding.
    type: bool
    default: false
  owner_uid:
    description: The numeric user that must own everything in the store.
    type: int
    default: 0
  owner_gid:
    description: The numeric group that must own everything in the store.
    type: int
    default: 0
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Verify the served store, and keep evidence of it
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"
    record: /var/lib/rampart/store-record.json

- name: Look between full verifications, in milliseconds
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"
    mode: changed
    max_age: 86400

- name: Look, and decide in the play
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"
    on_failure: report
  register: verified

- name: Take every bad model out of service
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"
    on_failure: quarantine
    quarantine: /srv/rampart
"""

RETURN = r"""
verdict:
  description: V(passed), or V(failed) from the first finding of medium severity on.
  returned: always
  type: str
  sample: passed
findings:
  description: What is wrong, worst first in the message of a failure, in the order it was found here.
  returned: always
  type: list
  elements: dict
  sample:
    - code: STORE-DIGEST-MISMATCH
      severity: critical
      subject: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      evidence: "the model of smollm2:135m-instruct-q4_1: its 98362432 bytes hash to
        sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9; bytes
        2097152-3145727 differ, in token_embd.weight"
      remedy: "Run ollama_model again: it fetches the approved bytes and publishes them anew."
checks:
  description: The properties that were looked for, for the control report.
  returned: always
  type: list
  elements: dict
  sample:
    - id: store-blobs-verified
      status: passed
      evidence: 4 blobs, 98363007 bytes hashed
models:
  description: The models in the store. C(not_reread_since) is empty when every blob of it was read.
  returned: always
  type: list
  elements: dict
  sample:
    - name: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      size: 98363007
      blobs: 4
      verified: true
      not_reread_since: ""
bad_blobs:
  description:
    - The blobs whose bytes are not what their names say, with the models and the kind of layer they are in.
    - C(ranges) holds first and last byte of what differs, is missing or was added. It is empty when that is not
      known. C(declared) is the right size, V(-1) when not known. C(tensors) names the weights of a GGUF file that
      lie there, as far as its header can be read and is not itself touched.
  returned: always
  type: list
  elements: dict
  sample:
    - digest: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      found: sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
      kind: model
      models: ["registry.ollama.ai/library/smollm2:135m-instruct-q4_1"]
      size: 98362432
      declared: 98362432
      ranges: [[2097152, 3145727]]
      tensors: [token_embd.weight]
bytes_hashed:
  description: How many bytes were read and hashed.
  returned: always
  type: int
  sample: 98363007
mode_used:
  description: V(full) when every blob was read, V(changed) when some were not.
  returned: always
  type: str
  sample: full
not_reread:
  description: How many blobs stood on an earlier reading.
  returned: always
  type: int
  sample: 0
oldest_read:
  description: When the blob was read whose reading lies furthest back (UTC), empty when all were read now.
  returned: always
  type: str
  sample: ""
recorded:
  description: For how many blobs evidence was written to O(record).
  returned: always
  type: int
  sample: 4
quarantined:
  description: The models that were moved out of the store, or would be in check mode.
  returned: O(on_failure=quarantine)
  type: list
  elements: dict
  sample:
    - model: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      evidence: >-
        /srv/rampart/store-evidence/ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8-0f6f3f0b9a3c
      blobs: ["sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"]
remaining:
  description: The findings that are not settled by what was moved out; from medium severity on they fail the task.
  returned: O(on_failure=quarantine)
  type: list
  elements: dict
  sample: []
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts, summary
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_policy import policy_from
from ansible_collections.rampart.ollama.plugins.module_utils.quarantine import clear
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport, verdict_of
from ansible_collections.rampart.ollama.plugins.module_utils.verify_run import Question, answer

ARGUMENTS = {
    "store": {"type": "path", "required": True},
    "approvals": {"type": "list", "elements": "dict", "required": True},
    "mode": {"type": "str", "choices": ["full", "changed"], "default": "full"},
    "record": {"type": "path"},
    "max_age": {"type": "int", "default": 604800},
    "on_failure": {"type": "str", "choices": ["fail", "report", "quarantine"], "default": "fail"},
    "quarantine": {"type": "path"},
    "policy": {"type": "dict", "default": {}},
    "workers": {"type": "int", "default": 0},
    "allow_absent": {"type": "bool", "default": False},
    "owner_uid": {"type": "int", "default": 0},
    "owner_gid": {"type": "int", "default": 0},
}


def look(module: AnsibleModule, store: ModelStore, question: Question) -> None:
    """Verify, change nothing, and end."""
    report, recorded = answer(store, question)
    result = {**report.as_result(), "recorded": recorded}
    if report.verdict == "failed" and module.params["on_failure"] == "fail":
        module.fail_json(msg=summary(report.findings), **result)
    module.exit_json(changed=False, **result)


def clear_out(module: AnsibleModule, store: ModelStore, question: Question) -> None:
    """Verify, move bad models out (in check mode: say which), and end. Raises FindingError."""
    recorded = 0

    def verify() -> VerifyReport:
        nonlocal recorded
        report, recorded = answer(store, question)
        return report

    quarantine = Path(module.params["quarantine"])
    outcome = clear(store, quarantine, verify, module.check_mode)
    result: dict[str, Any] = {**outcome.report.as_result(), "recorded": recorded, "changed": outcome.changed}
    result["quarantined"] = [move.as_result(quarantine) for move in outcome.moves]
    result["remaining"] = as_dicts(outcome.remaining)
    if module._diff:
        result["diff"] = outcome.as_diff(quarantine)
    if verdict_of(outcome.remaining) == "failed":
        module.fail_json(msg=summary(outcome.remaining), **result)
    module.exit_json(**result)


def main() -> None:
    """Verify the store and say what was found."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("on_failure", "quarantine", ("quarantine",))],
    )
    asked = module.params
    store = ModelStore(asked["store"], asked["owner_uid"], asked["owner_gid"])
    try:
        question = Question(
            approvals=approvals_from_entries(asked["approvals"]),
            mode=asked["mode"],
            record=Path(asked["record"]) if asked["record"] else None,
            max_age=asked["max_age"],
            workers=asked["workers"],
            allow_absent=asked["allow_absent"],
            only_look=module.check_mode,
            policy=asked["policy"],
        )
        policy_from(asked["policy"])
        if asked["on_failure"] == "quarantine":
            clear_out(module, store, question)
        look(module, store, question)
    except FindingError as error:
        # A broken entry or policy, or a directory that cannot take evidence: the question failed, not the store.
        report = VerifyReport(findings=[error.finding])
        module.fail_json(msg=str(error), **report.as_result(), recorded=0)


if __name__ == "__main__":
    main()
