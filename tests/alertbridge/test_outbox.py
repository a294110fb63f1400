"""The outbox: what goes in comes out once, in order, and survives whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from alertbridge.budget import Budget
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.claim import MESSAGE_BYTES, Claim, Wait
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.put import put as put_all
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.outbox.settle import Attempt, Settled
from alertbridge.outbox.tables import calls, resolved
from alertbridge.outbox.upkeep import SWEEP_ROWS
from alertbridge.secret import Secret
from alertbridge.webhook import parse

PLAN = RobotPlan("robot-a", Budget(20, 60))
OTHER = RobotPlan("robot-b", Budget(20, 60))
Put = Callable[..., str]


def claimed(outbox: Outbox, now: float, *plans: RobotPlan) -> Claim:
    claim = outbox.claim("ml", plans or [PLAN], now)
    assert isinstance(claim, Claim), claim
    return claim


def told(outbox: Outbox, claim: Claim) -> list[str]:
    """Gives the webhooks that a claim tells."""
    return list(outbox.bodies(claim))


def settled(outbox: Outbox, claim: Claim, kind: str, now: float, **options: object) -> Settled:
    fallback = options.pop("fallback", None)
    others = options.pop("others", frozenset({PLAN.robot}))
    attempt = Attempt(kind, month="2026-11", **options)  # type: ignore[arg-type]
    result = outbox.settle(claim, attempt, now, others=others, fallback=fallback)  # type: ignore[arg-type]
    return Settled(result.state, result.fallback)


def states(outbox: Outbox) -> dict[str, int]:
    return {count.state: count.notifications for count in outbox.counts()}


def test_what_is_put_is_claimed_and_delivered_once(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A webhook is claimed once, and gone from the work after it is delivered."""
    assert put() == "stored"

    claim = claimed(outbox, clock())
    assert outbox.claim("ml", [PLAN], clock()) == Wait(clock() + outbox.lease_seconds)
    assert settled(outbox, claim, "delivered", clock()) == Settled("delivered")

    assert outbox.claim("ml", [PLAN], clock()) == Wait(None)
    assert states(outbox) == {"delivered": 1}


def test_it_is_on_disk_when_put_returns(sqlite_storage: Secret, webhook_body: Callable[..., str]) -> None:
    """Another connection sees a webhook as soon as put has returned."""
    writer, reader = Outbox(Database(sqlite_storage)), Outbox(Database(sqlite_storage))
    writer.open()

    writer.put(Arrival.of("ml", "am", parse(webhook_body()), webhook_body(), 1.0))

    assert states(reader) == {"waiting": 1}
    writer.close()
    reader.close()


def test_another_takes_over_when_the_lease_has_run_out(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A message whose sender died goes out again after the lease, as the same message through the same robot."""
    put()
    first = claimed(outbox, clock(), PLAN, OTHER)

    again = claimed(outbox, clock() + outbox.lease_seconds, PLAN, OTHER)

    assert (again.uuid, told(outbox, again), again.attempt) == (first.uuid, told(outbox, first), 2)


def test_a_crash_on_sqlite_delays_nothing(sqlite_storage: Secret, webhook_body: Callable[..., str]) -> None:
    """After a restart what was being sent is due at once: the only process that could still send it is dead."""
    dead = Outbox(Database(sqlite_storage))
    dead.open()
    dead.put(Arrival.of("ml", "am", parse(webhook_body()), webhook_body(), 1.0))
    first = claimed(dead, 1.0)
    dead.close()

    restarted = Outbox(Database(sqlite_storage))
    assert restarted.open() == 1
    assert claimed(restarted, 2.0).uuid == first.uuid
    restarted.close()


def test_what_a_dead_sender_may_have_shown_is_not_told_anew_beside_what_waits(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A message whose lease ran out stays the same message, also after it failed once more; news go beside it."""
    put(run="r1")
    first = claimed(outbox, clock())
    put(run="r2")

    over = clock() + outbox.lease_seconds
    again = claimed(outbox, over)
    assert (again.uuid, told(outbox, again)) == (first.uuid, told(outbox, first))
    settled(outbox, again, "later", over, chance=0.5)
    once_more = claimed(outbox, over + 1)
    assert (once_more.uuid, told(outbox, once_more)) == (first.uuid, told(outbox, first))


def test_a_call_that_a_crash_cut_off_holds_nobody_up_after_the_restart(
    sqlite_storage: Secret, clock: Callable[[], float], webhook_body: Callable[..., str]
) -> None:
    """What a killed process had reserved counts as a call of that time, not as one that still runs."""
    killed = Outbox(Database(sqlite_storage))
    killed.open()
    for number in range(PLAN.budget.at_once(False)):
        text = webhook_body(run=f"r{number}")
        killed.put(Arrival.of("ml", "am1", parse(text), text, clock()))
        claimed(killed, clock())
    killed.close()

    restarted = Outbox(Database(sqlite_storage))
    restarted.open(clock())
    pace_seconds = PLAN.budget.window_seconds / 6
    assert restarted.claim("ml", [PLAN], clock()) == Wait(clock() + pace_seconds)
    assert isinstance(claimed(restarted, clock() + pace_seconds), Claim)
    restarted.close()


def test_a_second_process_leaves_a_running_ones_leases_alone(
    sqlite_storage: Secret, webhook_body: Callable[..., str]
) -> None:
    """Opening an outbox that another process serves takes nothing from it."""
    serving, second = Outbox(Database(sqlite_storage)), Outbox(Database(sqlite_storage))
    serving.open()
    serving.put(Arrival.of("ml", "am", parse(webhook_body()), webhook_body(), 1.0))
    claimed(serving, 1.0)

    assert second.open() == 0
    assert isinstance(second.claim("ml", [PLAN], 2.0), Wait)
    serving.close()
    second.close()


def test_a_late_answer_counts_although_the_lease_is_over(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A delivery that is reported after somebody else took the message over ends it all the same."""
    put()
    slow = claimed(outbox, clock())
    later = clock() + outbox.lease_seconds
    other = claimed(outbox, later)

    assert settled(outbox, slow, "delivered", later) == Settled("delivered")
    assert settled(outbox, other, "later", later, reason="timed out") == Settled("delivered")
    assert states(outbox) == {"delivered": 1}


def test_a_failed_message_waits_for_its_robots_pause(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """After "later" the robot is left alone for the back-off, then the same message goes out again."""
    put()
    first = claimed(outbox, clock())
    settled(outbox, first, "later", clock(), reason="busy", chance=0.5)

    assert outbox.claim("ml", [PLAN], clock()) == Wait(clock() + 1.0)
    assert claimed(outbox, clock() + 1.0).uuid == first.uuid


def test_backoff_grows_with_failures_in_a_row(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """Each failure doubles the pause, up to a minute."""
    put()
    now, waits = clock(), []
    for _ in range(8):
        settled(outbox, claimed(outbox, now), "later", now, chance=0.5)
        wait = outbox.claim("ml", [PLAN], now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        waits.append(wait.until - now)
        now = wait.until

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_unanswered_message_stays_with_its_robot(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """What a robot may have shown is repeated there, although another robot is free."""
    put()
    first = claimed(outbox, clock(), PLAN, OTHER)
    settled(outbox, first, "later", clock(), unanswered=True, chance=0.5)

    assert isinstance(outbox.claim("ml", [PLAN, OTHER], clock()), Wait)
    assert claimed(outbox, clock() + 1, PLAN, OTHER).robot == first.robot


@pytest.mark.parametrize("pause_seconds", [300.0, 31.0])
def test_an_unanswered_message_does_not_wait_long_for_its_robot(
    outbox: Outbox, put: Put, clock: Callable[[], float], pause_seconds: float
) -> None:
    """If its robot is left alone for longer than half a minute, another one tells it at once."""
    put(severity="critical")
    first = claimed(outbox, clock(), PLAN, OTHER)
    settled(outbox, first, "later", clock(), unanswered=True, pause_seconds=pause_seconds)

    second = claimed(outbox, clock(), PLAN, OTHER)
    assert {first.robot, second.robot} == {PLAN.robot, OTHER.robot}
    assert second.uuid == first.uuid


def test_a_refused_message_goes_to_the_other_robot(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A robot that will never take a message is replaced by the next one at once."""
    put()
    both = frozenset({PLAN.robot, OTHER.robot})
    first = claimed(outbox, clock(), PLAN, OTHER)

    assert settled(outbox, first, "never", clock(), others=both, errcode="310000") == Settled("open")
    second = claimed(outbox, clock(), PLAN, OTHER)
    assert {first.robot, second.robot} == both
    assert settled(outbox, second, "never", clock(), others=both, errcode="300005") == Settled("dead")


def test_a_dead_letter_keeps_its_reason_and_can_be_sent_again(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """What no robot takes is listed with errcode and reason, and waits again after a retry."""
    put()
    settled(outbox, claimed(outbox, clock()), "never", clock(), errcode="310000", reason="sign not match")

    (entry,) = outbox.entries(["dead"])
    assert (entry.receiver, entry.errcode, entry.reason) == ("ml", "310000", "sign not match")
    assert outbox.retry([entry.id]) == 1
    assert claimed(outbox, clock()).attempt == 1


def test_dropping_deletes_dead_letters_only(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """`drop` without numbers deletes what is dead and leaves what waits."""
    put("A")
    settled(outbox, claimed(outbox, clock()), "never", clock())
    put("B")

    assert outbox.drop(None) == 1
    assert states(outbox) == {"waiting": 1}


def test_the_fallback_receiver_tells_what_was_refused(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A dead letter waits at the fallback receiver, with its body and the time at which it came."""
    put()
    first = claimed(outbox, clock())

    assert settled(outbox, first, "never", clock(), fallback="backup") == Settled("dead", "backup")
    instead = outbox.claim("backup", [OTHER], clock())
    assert isinstance(instead, Claim)
    assert (told(outbox, instead), instead.received_at) == (told(outbox, first), first.received_at)


def test_two_fallbacks_of_each_other_end(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """A message that both receivers refuse does not travel between them for ever."""
    put()
    settled(outbox, claimed(outbox, clock()), "never", clock(), fallback="backup")
    back = outbox.claim("backup", [PLAN], clock())
    assert isinstance(back, Claim)

    assert settled(outbox, back, "never", clock(), fallback="ml") == Settled("dead")


def test_it_is_given_up_after_the_horizon(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """An hour after the first attempt (this outbox's horizon) the message is dead, with the last reason."""
    put()
    settled(outbox, claimed(outbox, clock()), "later", clock(), reason="busy")
    now = clock() + outbox.horizon_seconds

    assert settled(outbox, claimed(outbox, now), "later", now, reason="busy") == Settled("dead")
    assert outbox.entries(["dead"])[0].reason == "gave up after 1 h; last: busy"


def test_the_horizon_counts_from_the_first_attempt(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """What lay in the outbox for a day while the bridge was down is not given up at its first failure."""
    put()
    now = clock() + 86_400

    assert settled(outbox, claimed(outbox, now), "later", now, reason="busy") == Settled("open")


def test_a_groups_order_is_kept(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """While a group's message is on its way the next one of that group waits, and another group does not."""
    put("A")
    first = claimed(outbox, clock())
    put("A", status="resolved")
    put("B")

    other = claimed(outbox, clock())
    assert '"alertname": "B"' in told(outbox, other)[0]
    assert isinstance(outbox.claim("ml", [PLAN], clock()), Wait)
    settled(outbox, first, "delivered", clock())
    assert '"status": "resolved"' in told(outbox, claimed(outbox, clock()))[0]


def test_fired_and_resolved_before_its_turn_is_one_message(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """What came of one group while it waited is claimed together."""
    put("A")
    put("A", status="resolved")

    assert len(told(outbox, claimed(outbox, clock()))) == 2
    assert isinstance(outbox.claim("ml", [PLAN], clock()), Wait)


def test_a_message_is_made_of_as_much_as_the_memory_bears(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A large backlog is told in several messages, in order and whole; what is too large alone is told alone."""
    for run, share in {"r1": 0.6, "r2": 0.3, "r3": 0.3, "r4": 1.1, "r5": 0.1}.items():
        put("A", runs=(run,), padding="训" * int(share * MESSAGE_BYTES / 3))

    found = []
    while isinstance(claim := outbox.claim("ml", [PLAN], clock()), Claim):
        found.append([parse(body).alerts[0].labels["run"] for body in told(outbox, claim)])
        settled(outbox, claim, "delivered", clock())
    assert found == [["r1", "r2"], ["r3"], ["r4"], ["r5"]]


def test_critical_groups_go_first(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """A critical alert overtakes what came before it."""
    put("Warned")
    put("Died", severity="critical")

    assert "Died" in told(outbox, claimed(outbox, clock()))[0]


def test_webhooks_that_come_together_share_a_commit(
    outbox: Outbox, webhook_body: Callable[..., str], clock: Callable[[], float]
) -> None:
    """Fifty webhooks from fifty threads are all stored, each once."""
    bodies = [webhook_body(f"Alert{number}") for number in range(50)]
    verdicts: list[str] = []

    def send(text: str) -> None:
        verdicts.append(outbox.put(Arrival.of("ml", "am", parse(text), text, clock())))

    threads = [threading.Thread(target=send, args=(text,)) for text in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert verdicts == ["stored"] * 50
    assert sorted(entry.body for entry in outbox.entries(["waiting"])) == sorted(bodies)


def test_two_processes_never_claim_the_same(
    outbox: Outbox, storage: Secret, put: Put, clock: Callable[[], float]
) -> None:
    """Two bridges on one store share the work without claiming anything twice, and without exceeding the budget."""
    for number in range(30):
        put(f"Alert{number}")
    replica = Outbox(Database(storage))
    claims: list[Claim] = []

    def work(box: Outbox) -> None:
        while isinstance(claim := box.claim("ml", [PLAN], clock()), Claim):
            claims.append(claim)

    threads = [threading.Thread(target=work, args=(box,)) for box in (outbox, replica)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replica.close()

    bodies = [body for claim in claims for body in told(outbox, claim)]
    assert len(bodies) == len(set(bodies)) == 30
    assert len(claims) <= PLAN.budget.messages


def test_two_bridges_store_what_a_pair_tells_both_at_once_only_once(
    outbox: Outbox, storage: Secret, webhook_body: Callable[..., str], clock: Callable[[], float]
) -> None:
    """Of the same webhooks that reach two bridges at the same moment, in any order, each is stored by one of them."""
    replica = Outbox(Database(storage))
    texts = [webhook_body(f"Alert{number}") for number in range(100)]
    together = threading.Barrier(2)
    verdicts: list[str] = []

    def work(box: Outbox, source: str, order: int) -> None:
        arrivals = [Arrival.of("ml", source, parse(text), text, clock()) for text in texts[::order]]
        for begin in range(0, len(arrivals), 10):
            together.wait(10)
            with box.database.write() as connection:
                verdicts.extend(put_all(connection, arrivals[begin : begin + 10]))

    both = [(outbox, "am1", 1), (replica, "am2", 1), (outbox, "am1", 1), (replica, "am2", -1)]
    for pair in (both[:2], both[2:]):
        threads = [threading.Thread(target=work, args=one) for one in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    replica.close()

    assert (verdicts.count("stored"), verdicts.count("duplicate")) == (100, 300)
    assert states(outbox) == {"waiting": 100}


def test_delivered_ones_are_forgotten_and_waiting_ones_never(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """A sweep after a year deletes what is delivered or dead, and nothing that still has to be told."""
    put("Delivered")
    settled(outbox, claimed(outbox, clock()), "delivered", clock())
    put("Dead")
    settled(outbox, claimed(outbox, clock()), "never", clock())
    put("Waiting")

    outbox.sweep(clock() + 365 * 86_400, 60)

    assert states(outbox) == {"waiting": 1}


def test_what_is_over_is_forgotten_piece_by_piece(outbox: Outbox, clock: Callable[[], float]) -> None:
    """One sweep deletes a bounded number of each kind, so that nobody waits for it; the next ones go on."""
    long_ago = clock() - 365 * 86_400
    numbers = range(SWEEP_ROWS * 3 // 2)
    with outbox.database.write() as connection:
        connection.execute(insert(calls), [{"robot": "r", "started_at": long_ago} for _ in numbers])
        ends = [{"key": f"{number}", "source": "am", "seen_at": long_ago} for number in numbers]
        connection.execute(insert(resolved), ends)

    swept = [outbox.sweep(clock(), 60) for _ in range(3)]
    assert swept == [2 * SWEEP_ROWS, SWEEP_ROWS, 0]


@pytest.mark.parametrize(("age_days", "kept"), [(6, True), (8, False)])
def test_delivered_ones_stay_a_week(
    outbox: Outbox, put: Put, clock: Callable[[], float], age_days: int, kept: bool
) -> None:
    """What was delivered can be looked up for seven days."""
    put()
    settled(outbox, claimed(outbox, clock()), "delivered", clock())

    outbox.sweep(clock() + age_days * 86_400, 60)

    assert ("delivered" in states(outbox)) == kept


def test_the_lock_file_lies_beside_the_store(sqlite_storage: Secret, tmp_path: Path) -> None:
    """The file that tells processes of each other is named after the store."""
    box = Outbox(Database(sqlite_storage))
    box.open()
    assert (tmp_path / "outbox.db.lock").exists()
    box.close()


def test_a_doubted_message_waits_alone_and_its_group_behind_it(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """After an answer that tells nothing another group goes at once; what follows in its own group waits for it."""
    put("A")
    first = claimed(outbox, clock())
    settled(outbox, first, "later", clock(), errcode="77", doubtful=True, chance=0.5)
    put("A", status="resolved")
    put("B")

    other = claimed(outbox, clock())
    assert '"alertname": "B"' in told(outbox, other)[0]
    settled(outbox, other, "delivered", clock())
    assert outbox.claim("ml", [PLAN], clock()) == Wait(clock() + 1.0)
    again = claimed(outbox, clock() + 1.0)
    assert (again.uuid, told(outbox, again)) == (first.uuid, told(outbox, first))


def test_a_doubted_message_tries_another_robot(outbox: Outbox, put: Put, clock: Callable[[], float]) -> None:
    """What one robot did not take without saying why goes to another one of the receiver next."""
    put()
    first = claimed(outbox, clock(), PLAN, OTHER)
    settled(outbox, first, "later", clock(), errcode="77", doubtful=True, chance=0.5)

    assert {first.robot, claimed(outbox, clock() + 1.0, PLAN, OTHER).robot} == {PLAN.robot, OTHER.robot}


def test_a_doubted_message_is_tried_soon_once_its_robot_takes_others(
    outbox: Outbox, put: Put, clock: Callable[[], float]
) -> None:
    """After hours in which a robot took nothing, its first delivery shortens the wait of what it did not take."""
    put("A")
    now = clock()
    for _ in range(10):
        claim = claimed(outbox, now)
        settled(outbox, claim, "later", now, errcode="77", doubtful=True, chance=0.5)
        wait = outbox.claim("ml", [PLAN], now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        before, now = now, wait.until
    assert now - before == 300
    put("B")
    settled(outbox, claimed(outbox, before), "delivered", before)
    assert outbox.claim("ml", [PLAN], before) == Wait(before + 10)
