# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove each protection of the gateway, one at a time, and see that the tests named for it fail.

    python mutate.py [NAME ...]

Works on copies of the package. Exit status 1 if a mutation survives, or if its text is no longer in the source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src" / "rampart_gateway"


@dataclass(frozen=True)
class Mutation:
    """A protection, the text that makes it, the text without it, and the tests that must fail then (``-k``)."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation("two-authorization-headers", "auth.py", "if len(authorization) != 1:", "if not authorization:",
             "two_authorization_headers"),
    Mutation("key-form", "auth.py", "or not _KEY.fullmatch(key)", "", "without_a_known_key or keys_are_in_no_log"),
    Mutation("key-hash", "auth.py", "if hmac.compare_digest(known, offered):", "if True:", "without_a_known_key"),
    Mutation("scheme", "auth.py", 'scheme.lower() != "bearer" or ', "", "without_a_known_key"),
    Mutation("route-allow-list", "gateway.py", "and exchange.path in self._lists()", "",
             "open_route or that_users_do_not_need"),
    Mutation("auth-before-routes", "gateway.py", 'self._keys.identify(exchange.headers.getlist("authorization"))',
             'self._keys.identify([*exchange.headers.getlist("authorization"), *(["Bearer rmp_" + "a" * 43] '
             'if exchange.method == "GET" and not exchange.headers.getlist("authorization") else [])])',
             "without_a_known_key"),
    Mutation("health-is-liveness-only", "gateway.py", 'and scope["method"] in ("GET", "HEAD")', "", "health_needs"),
    Mutation("model-allow-list", "fields.py", "if model not in config.models:", "if False:", "exact_name"),
    Mutation("model-case", "fields.py", "if model not in config.models:",
             "if model.lower() not in [m.lower() for m in config.models]:", "exact_name"),
    Mutation("list-filter", "answers.py", '.get("name") in models', '.get("name")', "approved_models_only"),
    Mutation("v1-list-filter", "answers.py", '.get("id") in models', '.get("id")', "approved_models_only"),
    Mutation("field-allow-list", "fields.py", "    _known_only(document, _ALLOWED[route])\n", "", "unlisted_field"),
    Mutation("message-fields", "fields.py", '_known_only(message, frozenset({"role", "content"}), where + ".")',
             "pass", "wrong_type"),
    Mutation("roles", "fields.py", 'if role not in ("user", "assistant"):', "if False:", "any_role"),
    Mutation("roles-case", "fields.py", 'if role not in ("user", "assistant"):',
             'if str(role).strip().lower() not in ("user", "assistant"):', "any_role"),
    Mutation("last-role", "fields.py", 'if messages[-1][0] != "user":', "if False:", "begun_by_the_user"),
    Mutation("control-tokens", "fields.py", "if _CONTROL_TOKEN.search(value):", "if False:", "forged"),
    Mutation("option-allow-list", "fields.py", "    if bound is None:\n", "    if False:\n", "wrong_type"),
    Mutation("option-bounds", "fields.py", "if not bound.low <= value <= bound.high:", "if False:", "wrong_type"),
    Mutation("answer-length", "fields.py", 'options.setdefault("num_predict"', 'options.get("num_predict"',
             "always_has_an_end"),
    Mutation("format-schema", "fields.py", 'not in (None, "", "json")', "== 1", "wrong_type"),
    Mutation("prompt-length", "fields.py", "if plan.length > config.max_prompt_chars:", "if False:", "over_the_limit"),
    Mutation("length-of-all", "fields.py", "+ sum(len(stop) for stop in stops)", "", "length_counts"),
    Mutation("duplicate-keys", "jsonio.py", ", object_pairs_hook=_unique", "", "plain_json"),
    Mutation("strict-json", "jsonio.py", "        orjson.loads(body)\n", "", "plain_json"),
    Mutation("body-limit", "gateway.py", "if size > limit:", "if False:", "huge_body"),
    Mutation("body-timeout", "gateway.py", "asyncio.timeout(self._config.body_timeout_seconds)",
             "asyncio.timeout(None)", "never_ends"),
    Mutation("prompt-in-chat", "upstream.py", '[{"role": "system", "content": self._system_prompt}]', "[]",
             "prompt_is_first"),
    Mutation("prompt-in-generate", "upstream.py", '            body["system"] = self._system_prompt\n', "",
             "prompt_is_first"),
    Mutation("context-leaves", "answers.py", '    "done", "done_reason",', '    "context", "done", "done_reason",',
             "tokenised_prompt"),
    Mutation("server-errors-leave", "answers.py", 'or "error" in document', "", "breaks or servers_words"),
    Mutation("end-of-stream", "gateway.py", "        if not last:\n", "        if False:\n", "breaks"),
    Mutation("rate-limit", "gateway.py", "            self._rates.admit(user)", "            pass", "twenty_an_hour"),
    Mutation("suspension", "quota.py", "        if now < until:", "        if False:", "lasts_longer"),
    Mutation("day-limit", "quota.py", ", RateLimitItemPerDay(per_day))", ",)", "hundred_a_day"),
    Mutation("retry-after", "gateway.py", 'headers["retry-after"] =', 'headers["x-nothing"] =', "twenty_an_hour"),
    Mutation("rate-before-body", "gateway.py", "            self._rates.admit(user)",
             "            await self._plan(exchange, exchange.route, receive); self._rates.admit(user)",
             "share_one_count"),
    Mutation("concurrency", "quota.py", "self._all >= self._limits.concurrency or ", "", "beyond_the_concurrency"),
    Mutation("concurrency-per-user", "quota.py",
             "or self._of[user.id] >= self._limits.concurrency_per_user", "", "beyond_the_concurrency"),
    Mutation("slots-returned", "quota.py", "            self._all -= 1\n            self._of[user.id] -= 1\n",
             "            pass\n", "beyond_the_concurrency"),
    Mutation("audit-first", "gateway.py", "self._audit.write(exchange.record.started())", "pass",
             "refuses_before_anything or before_the_server_is_asked"),
    Mutation("audit-withholds", "gateway.py",
             "        self._close_record(exchange, None)\n        await exchange.whole(200, answer, "
             '{"content-type": _JSON})',
             '        await exchange.whole(200, answer, {"content-type": _JSON})\n'
             "        self._close_record(exchange, None)", "withholds"),
    Mutation("torn-lines", "audit.py", "os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)", "pass",
             "refuses_before_anything"),
    Mutation("audit-regular-file", "audit.py", "if not stat.S_ISREG(found.st_mode):", "if False:", "regular_file"),
    Mutation("audit-symlink", "audit.py", " | os.O_NOFOLLOW", "", "regular_file"),
    Mutation("audit-mode", "audit.py", "0o640)", "0o666)", "append_only"),
    Mutation("rotation", "audit.py", "(now.st_dev, now.st_ino) == self._identity", "True", "append_only"),
    Mutation("query-hash-keyed", "auth.py", 'hmac.new(key, data, hashlib.sha256).hexdigest()',
             "hashlib.sha256(data).hexdigest()", "query_hash"),
    Mutation("model-name-logged", "gateway.py", "record.model = approved_model(document, self._config)",
             'record.model = str(document.get("model")); approved_model(document, self._config)',
             "no_text or exact_name"),
    Mutation("path-logged", "gateway.py", 'self.known_route or "other"', "self.path", "no_text"),
    Mutation("disconnect", "gateway.py", "watch = asyncio.ensure_future(_disconnected(receive))",
             "watch = asyncio.ensure_future(asyncio.sleep(9))", "disconnect"),
    Mutation("upstream-timeout", "gateway.py", "async with asyncio.timeout(self._config.upstream_timeout_seconds):",
             "async with asyncio.timeout(6):", "too_long"),
    Mutation("metric-users", "metrics.py", 'user_id if user_id in self._users else "unknown"', '"x"', "guide_s_names"),
    Mutation("metrics-apart", "metrics.py", 'Route("/metrics"', 'Route("/other"', "guide_s_names"),
    Mutation("socket-mode", "server.py", "SOCKET_MODE = 0o660", "SOCKET_MODE = 0o666", "0660"),
    Mutation("live-socket", "server.py", "probe.connect(str(path))", "raise ConnectionRefusedError",
             "stale_socket"),
    Mutation("secrets-mode", "config.py", "if mode & 0o007:", "if False:", "one_line_and_status_2"),
    Mutation("cloud-models", "config.py", 'value.lower().endswith((":cloud", "-cloud"))', "False", "bad_configuration"),
    Mutation("placeholder", "config.py", "        if placeholder in text:", "        if False:", "bad_configuration"),
]  # fmt: skip


def survives(mutation: Mutation, directory: Path) -> str:
    """Empty if the tests caught it, else why not."""
    source = directory / mutation.name
    shutil.copytree(PACKAGE, source / "rampart_gateway", ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "rampart_gateway" / mutation.file
    text = path.read_text("utf-8")
    if mutation.old not in text:
        return "its text is no longer in the source"
    path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-k", mutation.tests, str(HERE)]
    environment = {**os.environ, "RAMPART_GATEWAY_SOURCE": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "the tests hang without it, which says nothing"
    if result.returncode == 1 and "rror during collection" not in result.stdout:
        return ""
    return {0: "the tests pass without it", 5: "no test has that name"}.get(result.returncode, result.stdout[-500:])


def main() -> int:
    """Try all, or the named ones; the exit status."""
    wanted = [mutation for mutation in MUTATIONS if not sys.argv[1:] or mutation.name in sys.argv[1:]]
    failures = 0
    with tempfile.TemporaryDirectory(prefix="rampart-mutate-") as name:
        for mutation in wanted:
            why = survives(mutation, Path(name))
            failures += bool(why)
            print(f"{mutation.name:28} {'SURVIVED: ' + why if why else 'caught'}", flush=True)
    print(f"{len(wanted) - failures} caught, {failures} survived")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
