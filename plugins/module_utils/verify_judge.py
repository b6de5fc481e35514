# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what a store contains against its approvals and against its own names (row S3).

Everything here is decided from what was seen already; only a blob that is wrong is read once more, to say
where.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Optional

from .approval import Approval
from .findings import Finding, FindingError, Severity
from .fsverity import measure_file
from .hashing import HashResult, read_plain
from .manifest import CONFIG_MAX_BYTES, Descriptor, Manifest, cloud_stub
from .store import ModelStore, StoreContent, StoredModel
from .verify_layers import Place, layer_findings, tensors_at
from .verify_locate import Difference, locate
from .verify_report import BadBlob

REFETCH = "Run ollama_model again: it fetches the approved bytes and publishes them anew."
# So many wrong blobs are read once more to say where they differ, and so many reasons are kept for a model.
LOCATED_MAX = 64
REASONS_MAX = 100
_TENSORS_SHOWN = 3


class Judge:
    """Judges one look at a store.

    `hashed` has the result of every blob file that is not as it should be; `marks` are those of the right
    contents, as far as a record has them. What is found goes into the content's findings; `reasons` collects
    why a model (by its path) is bad.
    """

    def __init__(
        self,
        store: ModelStore,
        content: StoreContent,
        approvals: Mapping[str, Approval],
        hashed: Mapping[str, HashResult],
        marks: Mapping[str, bytes],
    ) -> None:
        self.store = store
        self.content = content
        self.approvals = approvals
        self.hashed = hashed
        self.marks = marks
        self.reasons: dict[str, list[Finding]] = {}
        self.bad_blobs: list[BadBlob] = []
        self._approved = {
            digest: (size, approval) for approval in approvals.values() for digest, size in approval.blobs.items()
        }
        self._users: dict[str, list[tuple[StoredModel, Descriptor]]] = {}
        for model in content.models:
            for digest, blob in (model.manifest.blobs if model.manifest else {}).items():
                self._users.setdefault(digest, []).append((model, blob))

    def blame(self, path: str, finding: Finding) -> None:
        """Keep a finding as a reason why the model at `path` is bad."""
        reasons = self.reasons.setdefault(path, [])
        if len(reasons) < REASONS_MAX and finding not in reasons:
            reasons.append(finding)

    def judge(self, allow_absent: bool) -> None:
        """Record everything that is wrong, in an order that depends on names alone."""
        for digest in sorted(self.hashed):
            self._judge_blob(digest, self.hashed[digest])
        self._hold_against_approvals(allow_absent)
        for model in self.content.models:
            if model.manifest is None:
                if model.refusal:
                    self.blame(model.path, model.refusal)
            else:
                self._hold_against_manifest(model, model.manifest)
        self._find_unreferenced()

    def _add(self, paths: list[str], code: str, severity: Severity, subject: str, evidence: str, remedy: str) -> None:
        """Record a finding and blame the models at these paths."""
        if not paths:
            self.content.findings.add(code, severity, subject, evidence, remedy)
            return
        finding = Finding(code, severity, subject, evidence, remedy)
        self.content.findings.append(finding)
        for path in paths:
            self.blame(path, finding)

    def _judge_blob(self, digest: str, result: HashResult) -> None:
        users = [model.path for model, _blob in self._users.get(digest, [])]
        if result.error:
            self._add(
                users,
                "STORE-READ-ERROR",
                Severity.HIGH,
                digest,
                self._read_error(digest, result),
                "Check the disk (its log and SMART values), then verify again.",
            )
        elif result.changed:
            self._add(
                users,
                "STORE-CHANGED",
                Severity.HIGH,
                digest,
                "{0}the file changed while it was read".format(self._owner(digest)),
                "Find out what writes to the store, then verify again.",
            )
        else:
            self._judge_difference(digest, result, users)

    def _read_error(self, digest: str, result: HashResult) -> str:
        told = "{0}not read to its end: {1} at byte {2} of {3}".format(
            self._owner(digest), result.error, result.size, self.content.blobs[digest].st_size
        )
        measured = measure_file(self.store.blob_path(digest))
        if measured and measured.digest:
            told += "; the file is sealed (fs-verity): the disk fails, or these bytes were changed on it"
        return told

    def _judge_difference(self, digest: str, result: HashResult, users: list[str]) -> None:
        declared = self._declared(digest)
        using = self._users.get(digest, [])
        shown = len(self.bad_blobs) < LOCATED_MAX
        place, path = Place(), self.store.blob_path(digest)
        if result.digest in self._users or result.digest in self._approved:
            where = Difference((), "those of {0}".format(self._name(result.digest)))
        elif shown:
            where = locate(path, digest, result.size, declared, self.marks.get(digest, b""))
            place = tensors_at(path, where.ranges) if where.ranges else place
        else:
            where = Difference((), "not looked where: there are too many")
        evidence = "{0}its {1} bytes hash to {2}; {3}{4}".format(
            self._owner(digest), result.size, result.digest, where.text, _within(place)
        )
        self._add(users, "STORE-DIGEST-MISMATCH", Severity.CRITICAL, digest, evidence, REFETCH)
        if shown:
            kind = using[0][1].kind if using else ""
            models = tuple(model.name.full for model, _blob in using)
            self.bad_blobs.append(
                BadBlob(digest, result.digest, kind, models, result.size, declared, where.ranges, place.tensors)
            )

    def _declared(self, digest: str) -> int:
        """Return how long a blob should be; the approval's word comes before a manifest's. -1: not known."""
        if digest in self._approved:
            return self._approved[digest][0]
        sizes = {blob.size for _model, blob in self._users.get(digest, [])}
        return sizes.pop() if len(sizes) == 1 else -1

    def _owner(self, digest: str) -> str:
        """Return "the template of mistral:7b and 2 more: ", empty for a blob that no manifest names."""
        using = self._users.get(digest)
        if not using:
            return ""
        model, blob = using[0]
        more = " and {0} more".format(len(using) - 1) if len(using) > 1 else ""
        return "the {0} of {1}{2}: ".format(blob.kind, model.name.short, more)

    def _name(self, digest: str) -> str:
        using = self._users.get(digest)
        if using:
            return "the {0} of {1} ({2})".format(using[0][1].kind, using[0][0].name.short, digest[:19])
        return "a blob of {0} ({1})".format(self._approved[digest][1].name.short, digest[:19])

    def _hold_against_approvals(self, allow_absent: bool) -> None:
        """Record models that are not approved, not the approved ones, there twice, or missing."""
        by_key: dict[str, list[StoredModel]] = {}
        for model in self.content.models:
            by_key.setdefault(model.name.key, []).append(model)
        for key, models in by_key.items():
            approval = self.approvals.get(key)
            if len(models) > 1:
                self._judge_doubles(models, approval)
            for model in models:
                self._hold_model(model, approval)
        for key in sorted(set(self.approvals) - set(by_key)):
            if not allow_absent:
                self.content.findings.add(
                    "STORE-MODEL-ABSENT",
                    Severity.HIGH,
                    self.approvals[key].name.full,
                    "approved, but not in the store",
                    "Run ollama_model to fetch it, or set allow_absent.",
                )

    def _judge_doubles(self, models: list[StoredModel], approval: Optional[Approval]) -> None:
        """Record manifests whose names differ only by case; the one written as approved is not at fault."""
        right = str(self.store.manifest_path(approval.name)) if approval else ""
        keep = [model for model in models if str(self.store.path(model.path)) == right]
        for model in models:
            if model not in keep[:1]:
                self._add(
                    [model.path],
                    "STORE-MANIFEST-INVALID",
                    Severity.HIGH,
                    model.path,
                    "another manifest's name differs only by case",
                    "Delete the one that is not approved.",
                )

    def _hold_model(self, model: StoredModel, approval: Optional[Approval]) -> None:
        if approval is None:
            self._add(
                [model.path],
                "STORE-UNAPPROVED-MODEL",
                Severity.CRITICAL,
                model.name.full,
                "no approval entry; its digest is {0}".format(model.digest),
                "Have it approved, or remove it with ollama_model (state: absent).",
            )
            return
        if model.manifest is not None:
            difference = approval.difference(model.manifest)
        elif model.digest != approval.digest:
            difference = "the manifest is {0}, approved is {1}".format(model.digest, approval.digest)
        else:
            difference = None
        if difference:
            self._add(
                [model.path],
                "STORE-MANIFEST-MISMATCH",
                Severity.CRITICAL,
                model.name.full,
                difference,
                REFETCH,
            )

    def _hold_against_manifest(self, model: StoredModel, manifest: Manifest) -> None:
        """Record missing blobs, wrong sizes, cloud stubs and models without weights."""
        for digest, blob in manifest.blobs.items():
            first = self._users[digest][0][0] is model
            status = self.content.blobs.get(digest)
            if status is None:
                self._once(
                    model,
                    first,
                    "STORE-BLOB-MISSING",
                    Severity.HIGH,
                    digest,
                    "the {0} of {1} is not there".format(blob.kind, model.name.short),
                )
            elif status.st_size != blob.size:
                sizes = [other.size for _model, other in self._users[digest]]
                self._once(
                    model,
                    first or blob.size != sizes[0],
                    "STORE-SIZE-MISMATCH",
                    Severity.CRITICAL,
                    digest,
                    "the {0} of {1} has {2} bytes, declared are {3}".format(
                        blob.kind, model.name.short, status.st_size, blob.size
                    ),
                )
        refusal = self._judge_config(model.name.full, manifest)
        if refusal:
            self.content.findings.append(refusal)
            self.blame(model.path, refusal)

    def _once(self, model: StoredModel, tell: bool, code: str, severity: Severity, digest: str, evidence: str) -> None:
        """Blame a model for a blob, but tell of a blob that several models use only once."""
        if tell:
            self._add([model.path], code, severity, digest, evidence, REFETCH)
        else:
            self.blame(model.path, Finding(code, severity, digest, evidence, REFETCH))

    def _judge_config(self, subject: str, manifest: Manifest) -> Optional[Finding]:
        """Return the finding for a cloud stub, an ambiguous config, or a model without weights."""
        try:
            config = read_plain(self.store.blob_path(manifest.config.digest), CONFIG_MAX_BYTES)
            refusal = cloud_stub(config, subject)
        except FindingError as error:
            refusal = error
        except OSError:
            # A missing, strange or unreadable config blob has its own finding already.
            return None
        if refusal is not None:
            return refusal.finding
        if not manifest.has_weights:
            return Finding(
                "STORE-MANIFEST-INVALID",
                Severity.MEDIUM,
                subject,
                "no layer holds weights",
                "Remove it: such a model answers nothing on this host.",
            )
        return None

    def look_into(self, policy: Mapping[str, Any], stands: Container[str]) -> tuple[list[str], bool]:
        """Judge the layers of every model whose blobs are all there and right; a finding of medium severity or
        worse is a reason against it.

        `stands` are the digests of models that were judged before, and nothing has changed since. Return those
        that may be called so from now on, and whether every model was judged.
        """
        clean: list[str] = []
        every = True
        for model in self.content.models:
            blobs = set(model.manifest.blobs) if model.manifest else set()
            if not blobs or blobs & set(self.hashed) or not blobs <= set(self.content.blobs):
                # Wrong bytes have their finding; what is in them says nothing about the approved ones.
                every = False
                continue
            if model.digest in stands:
                continue
            findings, bad = layer_findings(self.store, model, policy)
            for finding in findings:
                self.content.findings.append(finding)
                if finding.severity.rank >= Severity.MEDIUM.rank:
                    self.blame(model.path, finding)
            if not bad:
                clean.append(model.digest)
        return clean, every

    def _find_unreferenced(self) -> None:
        for digest in sorted(set(self.content.blobs) - set(self._users)):
            known = digest in self._approved
            self.content.findings.add(
                "STORE-UNREFERENCED-BLOB",
                Severity.LOW if known else Severity.MEDIUM,
                digest,
                "{0} bytes that no manifest in the store names".format(self.content.blobs[digest].st_size),
                "Run ollama_model again: it belongs to an approved model." if known else "Delete the file.",
            )


def _within(place: Place) -> str:
    """Return ", in blk.0.ffn_up.weight and 2 more tensors", "" when it is not known."""
    if place.header:
        return ", in the header"
    if not place.tensors:
        return ""
    more = len(place.tensors) - _TENSORS_SHOWN
    shown = ", ".join(place.tensors[:_TENSORS_SHOWN])
    return ", in {0}{1}".format(shown, " and {0} more tensors".format(more) if more > 0 else "")
