# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates, suspension and concurrency (rows P4, P9)."""

from __future__ import annotations

import asyncio
import time

import pytest
from gateway_rig import KEYS, Rig, StartGateway, eventually
from model_stand_in import MODEL

pytestmark = pytest.mark.row("P4")


class Clock:
    """The wall clock, moved forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_twenty_an_hour_then_suspended_for_an_hour(start: StartGateway, clock: Clock) -> None:
    """The guide's figures are the defaults."""
    rig: Rig = await start(limits={"per_hour": 20, "per_day": 100, "suspension_seconds": 3600})
    for _nr in range(20):
        assert (await rig.chat()).status == 200
    answer = await rig.chat()
    assert (answer.status, answer.code) == (429, "GW-RATE-LIMIT")
    assert 3590 <= int(answer.headers["retry-after"]) <= 3601
    record = rig.log()[-1]
    assert (record["action"], record["security_flags"]["rate_limit_hit"]) == ("BLOCKED_RATE_LIMIT", True)
    assert len(rig.upstream.generations) == 20
    clock.ahead = 3590.0
    assert (await rig.chat()).status == 429
    clock.ahead = 3605.0
    assert (await rig.chat()).status == 200


async def test_attempts_while_suspended_do_not_prolong_it(start: StartGateway, clock: Clock) -> None:
    rig: Rig = await start(limits={"per_hour": 2, "suspension_seconds": 3600})
    waits = []
    for ahead in (0, 0, 0, 1800, 3500):
        clock.ahead = ahead
        answer = await rig.chat()
        waits.append(int(answer.headers.get("retry-after", "0")))
    assert waits[:2] == [0, 0]
    assert waits[2] > waits[3] > waits[4] > 0
    clock.ahead = 3610
    assert (await rig.chat()).status == 200


async def test_suspension_lasts_longer_than_the_window_when_configured(start: StartGateway, clock: Clock) -> None:
    rig: Rig = await start(limits={"per_hour": 1, "suspension_seconds": 7200})
    await rig.chat()
    assert 7190 <= int((await rig.chat()).headers["retry-after"]) <= 7201
    clock.ahead = 3700
    assert (await rig.chat()).status == 429
    clock.ahead = 7210
    assert (await rig.chat()).status == 200


async def test_hundred_a_day_even_when_spread_over_the_hours(start: StartGateway, clock: Clock) -> None:
    rig: Rig = await start(limits={"per_hour": 20, "per_day": 100, "suspension_seconds": 3600})
    served = 0
    for hour in range(6):
        clock.ahead = hour * 3700.0
        for _nr in range(20):
            served += (await rig.chat()).status == 200
    assert served == 100
    answer = await rig.chat()
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 3 * 3600  # when the day's window has room, not just an hour
    clock.ahead = 86400.0 + 60
    assert (await rig.chat()).status == 200


async def test_each_user_has_a_count_and_may_have_a_limit_of_their_own(start: StartGateway) -> None:
    rig: Rig = await start(limits={"per_hour": 2}, users={"bob": {"per_hour": 4}})
    statuses = {
        name: [(await rig.call("POST", "/api/chat", b"{}", key=key)).status for _nr in range(5)]
        for name, key in KEYS.items()
    }
    assert statuses["alice"] == [400, 400, 429, 429, 429]  # refused attempts count
    assert statuses["bob@example.org"] == [400, 400, 400, 400, 429]


async def test_all_generation_routes_share_one_count(start: StartGateway) -> None:
    rig: Rig = await start(limits={"per_hour": 3})
    paths = ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions"]
    statuses = [(await rig.call("POST", path, b"{}")).status for path in paths]
    assert statuses == [400, 400, 400, 429]


async def test_limited_answer_of_v1_has_openai_s_shape(start: StartGateway) -> None:
    rig: Rig = await start(limits={"per_hour": 1})
    await rig.chat()
    answer = await rig.call("POST", "/v1/chat/completions", b"{}")
    assert answer.status == 429
    assert answer.json["error"]["type"] == "rate_limit_error"
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.row("P9")
async def test_requests_beyond_the_concurrency_are_refused_at_once(start: StartGateway) -> None:
    rig: Rig = await start(limits={"concurrency": 3, "concurrency_per_user": 2})
    rig.upstream.gate = asyncio.Event()
    waiting = [asyncio.create_task(rig.chat()) for _nr in range(2)]
    await eventually(lambda: len(rig.upstream.generations) == 2)
    third = await asyncio.wait_for(rig.chat(), 5)  # alice has two already
    assert (third.status, third.code, third.headers["retry-after"]) == (503, "GW-OVERLOADED", "2")
    body = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": "x"}]}
    bob = [asyncio.create_task(rig.call("POST", "/api/chat", body, key=KEYS["bob@example.org"])) for _nr in range(2)]
    await eventually(lambda: any(task.done() for task in bob) and len(rig.upstream.generations) == 3)
    assert [task.result().code for task in bob if task.done()] == ["GW-OVERLOADED"]  # three in all
    assert len(rig.upstream.generations) == 3
    rig.upstream.gate.set()
    assert [(await task).status for task in waiting] == [200, 200]
    assert sorted([(await task).status for task in bob]) == [200, 503]
    rig.upstream.gate = None
    assert (await rig.chat()).status == 200  # the slots came back
