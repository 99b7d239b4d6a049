"""The round as a state machine: every rule by name, and what hypothesis makes of any order of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.round_events import (
    Asked,
    AskFailed,
    AskStudio,
    Broke,
    PullReplies,
    ReplyLost,
    RosterSeen,
    StudioNode,
    StudioRefused,
    StudioRevoked,
    Ticked,
    UpdateAccepted,
    UpdateRejected,
    UpdateUnused,
)
from aggregator.round_report import studio_answered
from aggregator.round_rules import advance
from aggregator.round_state import Phase, RoundLimits, Standing, open_round, reopen_round
from federation.errors import FINAL_REFUSALS, RefusalCode

STUDIOS = ("ash", "birch", "cedar")
T0 = 1000.0


class Script:
    """Drives one round: sends what it is asked to send, and remembers it."""

    def __init__(self, quorum=2, deadline_s=100.0, previous=None, server_round=1, limits=None):
        limits = limits or RoundLimits()
        self.now = T0 if previous is None else previous.deadline_at
        self.state = open_round(
            server_round,
            studios=STUDIOS,
            quorum=quorum,
            now=self.now,
            deadline_s=deadline_s,
            previous=previous,
            limits=limits,
        )
        self.online = {}
        self.sent = []

    def on(self, event):
        self.state, actions = advance(self.state, event, self.now)
        pulls = ()
        for action in actions:
            if isinstance(action, AskStudio):
                message_id = f"{action.studio}-{len(self.sent)}"
                self.sent.append(message_id)
                self.on(Asked(action.studio, message_id, action.node_id))
            elif isinstance(action, PullReplies):
                pulls = action.message_ids
        return pulls

    def roster(self, **activated):
        """``ash=5.0`` is online since then, ``ash=None`` is offline."""
        self.online.update(activated)
        nodes = tuple(
            StudioNode(name, STUDIOS.index(name) + 1, at is not None, at or 0.0)
            for name, at in self.online.items()
        )
        return self.on(RosterSeen(nodes))

    def everybody(self):
        return self.roster(ash=T0 - 1, birch=T0 - 1, cedar=T0 - 1)

    def after(self, seconds):
        self.now += seconds
        return self.on(Ticked())

    def accept(self, *studios, server_round=None):
        for studio in studios:
            self.on(UpdateAccepted(studio, server_round or self.state.server_round, 412))

    def turn(self, studio):
        return self.state.turns[studio]


def test_all_named_studios_returned_closes_before_the_deadline():
    script = Script()
    script.everybody()
    assert script.sent == ["ash-0", "birch-1", "cedar-2"]
    script.now += 5
    script.accept("ash", "birch")
    assert script.state.phase is Phase.OPEN
    script.accept("cedar")
    assert script.state.phase is Phase.CLOSED
    assert script.state.reason == "3 of 3 returned, 412 B each"
    assert script.turn("ash").seconds == 5


def test_nobody_is_asked_before_the_quorum_has_been_seen_online():
    script = Script(quorum=2)
    script.roster(ash=T0)
    script.after(10)
    assert script.sent == []
    assert script.state.phase is Phase.PREPARING
    script.roster(ash=None, birch=T0 + 10)  # ash was seen in this round: two are within reach
    assert script.state.phase is Phase.OPEN
    assert script.sent == ["birch-0"]
    script.roster(ash=T0 + 11)
    assert script.sent == ["birch-0", "ash-1"]


def test_at_the_deadline_the_quorum_decides():
    enough, short = Script(), Script()
    for script in (enough, short):
        script.everybody()
        script.accept("ash")
    enough.accept("birch")
    for script in (enough, short):
        script.after(99)
        assert script.state.phase is Phase.OPEN
        script.after(1)
    assert enough.state.phase is Phase.CLOSED
    assert enough.state.reason == "2 of 3 returned, 412 B each; missing: cedar (no answer)"
    assert short.state.phase is Phase.DEGRADED
    assert "below the quorum of 2 at the deadline: 1 of 3 returned" in short.state.reason
    assert "birch (no answer), cedar (no answer)" in short.state.reason


def test_a_round_that_nobody_joins_ends_at_its_deadline():
    script = Script()
    script.after(100)
    assert script.state.phase is Phase.DEGRADED
    assert "ash (never online)" in script.state.reason


def test_studios_that_were_not_asked_are_not_called_offline():
    script = Script(quorum=2)
    script.roster(ash=T0)
    script.after(100)
    assert "ash (not asked), birch (never online)" in script.state.reason


def test_the_round_ends_at_once_when_the_quorum_is_out_of_reach():
    script = Script(quorum=3)
    script.everybody()
    script.on(StudioRefused("birch", 1, "birch-1", RefusalCode.BUDGET))
    assert script.state.phase is Phase.DEGRADED
    assert "quorum of 3 is out of reach" in script.state.reason
    assert "birch (refused: budget)" in script.state.reason
    assert studio_answered(script.state, "birch", 1).text == "birch refused: budget"


def test_nothing_happens_after_the_end():
    script = Script()
    script.after(100)
    ended = script.state
    script.everybody()
    script.accept("ash", "birch", "cedar")
    assert script.state is ended
    assert script.sent == []


@pytest.mark.parametrize("code", sorted(FINAL_REFUSALS))
def test_a_final_refusal_is_not_asked_again(code):
    script = Script(quorum=1)
    script.everybody()
    script.on(StudioRefused("ash", 1, "ash-0", code))
    for _ in range(20):
        script.after(4)
        script.roster(ash=script.now)
    assert [m for m in script.sent if m.startswith("ash")] == ["ash-0"]
    assert script.turn("ash").standing is Standing.REFUSED


@pytest.mark.parametrize("code", sorted(set(RefusalCode) - FINAL_REFUSALS))
def test_a_refusal_that_may_pass_is_asked_again_after_a_wait(code):
    script = Script()
    script.everybody()
    script.on(StudioRefused("ash", 1, "ash-0", code))
    script.after(1)
    assert len(script.sent) == 3
    script.after(1)
    assert script.sent[3:] == ["ash-3"]


def test_a_lost_reply_is_asked_again_and_a_final_one_is_not():
    script = Script()
    script.everybody()
    script.on(ReplyLost("ash", 1, "ash-0", "Flower error 3"))
    script.on(ReplyLost("birch", 1, "birch-1", "Flower error 7", final=True))
    script.after(3)
    assert script.sent[3:] == ["ash-3"]
    assert script.turn("birch").standing is Standing.REJECTED


def test_a_node_activated_after_the_message_was_sent_is_asked_again():
    script = Script()
    script.everybody()
    script.now += 10
    script.roster(ash=T0 - 1)
    assert len(script.sent) == 3
    script.roster(ash=script.now - 1)
    assert script.sent[3:] == ["ash-3"]
    script.after(30)
    script.roster(ash=script.now - 31)
    assert len(script.sent) == 4, "one activation is one more message"


def test_the_reply_to_either_message_counts_and_only_once():
    script = Script()
    script.everybody()
    script.now += 10
    script.roster(ash=script.now)
    script.now += 10
    assert set(script.after(0)) == {"ash-0", "ash-3", "birch-1", "cedar-2"}
    script.accept("ash")
    script.on(UpdateRejected("ash", 1, "a second answer"))
    assert script.turn("ash").standing is Standing.ACCEPTED
    assert set(script.after(0)) == {"birch-1", "cedar-2"}


def test_a_studio_that_came_back_with_another_node_is_asked_there():
    script = Script()
    script.everybody()
    script.now += 10
    script.on(RosterSeen((StudioNode("ash", 1, False, T0 - 1), StudioNode("ash", 9, True, T0 - 50))))
    assert script.turn("ash").pending[-1].node_id == 9


def test_replies_are_pulled_only_for_nodes_that_are_online():
    script = Script()
    script.everybody()
    script.roster(birch=None)
    assert script.after(1) == ("ash-0", "cedar-2")
    script.roster(birch=T0 - 1)
    assert script.after(1) == ("ash-0", "birch-1", "cedar-2")


def test_a_message_that_could_not_be_sent_is_tried_again_later():
    script = Script()
    state, actions = advance(
        script.state, RosterSeen(tuple(StudioNode(s, i, True, 0.0) for i, s in enumerate(STUDIOS))), T0
    )
    assert len([a for a in actions if isinstance(a, AskStudio)]) == 3
    state, _ = advance(state, AskFailed("ash", "the SuperLink is away"), T0)
    state, actions = advance(state, Ticked(), T0 + 1)
    assert AskStudio("ash", 0) not in actions
    state, actions = advance(state, Ticked(), T0 + 2)
    assert AskStudio("ash", 0) in actions


def test_tries_are_bounded_and_spread_over_the_round():
    script = Script(quorum=1, deadline_s=3000.0, limits=RoundLimits(asks_max=6))
    script.everybody()
    times = [T0]
    while script.turn("ash").standing is not Standing.EXHAUSTED:
        last = [m for m in script.sent if m.startswith("ash")][-1]
        if script.turn("ash").pending:
            script.on(ReplyLost("ash", 1, last, "Flower error 3"))
        count = len(script.sent)
        script.after(1)
        times += [script.now] * (len(script.sent) > count)
        assert script.now < T0 + 3000
    assert len(times) == 6
    assert times == sorted(times)
    assert times[-1] - times[-2] >= 16
    assert "6 tries used up; last: Flower error 3" in script.turn("ash").reason


def test_a_rejected_update_drops_only_its_studio():
    script = Script()
    script.everybody()
    script.on(UpdateRejected("ash", 1, "not-finite: 3 of its 9 values are NaN or infinite"))
    script.accept("birch", "cedar")
    assert script.state.phase is Phase.CLOSED
    assert script.state.accepted == ("birch", "cedar")
    assert "missing: ash (not-finite" in script.state.reason


def test_a_revoked_studio_does_not_count_even_if_its_update_is_in():
    script = Script()
    script.everybody()
    script.accept("ash")
    script.on(StudioRevoked("ash"))
    script.accept("birch", "cedar")
    assert script.state.accepted == ("birch", "cedar")


def test_a_coordinator_that_cannot_go_on_says_failed():
    script = Script()
    script.everybody()
    script.on(Broke("the disk is full"))
    assert script.state.phase is Phase.FAILED
    assert script.state.reason == "the disk is full"


def closed_without_cedar():
    script = Script()
    script.everybody()
    script.accept("ash", "birch")
    script.after(100)
    assert script.state.phase is Phase.CLOSED
    return script.state


def test_a_late_reply_is_taken_in_the_next_round_and_does_not_count_for_its_quorum():
    script = Script(quorum=3, previous=closed_without_cedar(), server_round=2)
    script.everybody()
    pulled = script.after(1)
    assert pulled[0] == "cedar-2", "the older question first"
    script.accept("cedar", server_round=1)
    assert script.state.late["cedar"].standing is Standing.ACCEPTED
    assert script.turn("cedar").standing is Standing.ASKED
    assert script.state.accepted == ()


@pytest.mark.parametrize(
    ("event", "standing"),
    [
        (UpdateUnused("cedar", 1, "the plan uses no late update"), Standing.UNUSED),
        (UpdateRejected("cedar", 1, "norm"), Standing.REJECTED),
        (ReplyLost("cedar", 1, "cedar-2", "Flower error 3"), Standing.EXHAUSTED),
        (StudioRefused("cedar", 1, "cedar-2", RefusalCode.EXPIRED), Standing.EXHAUSTED),
    ],
)
def test_what_became_of_a_late_reply_is_recorded_and_nobody_is_asked_again_for_it(event, standing):
    script = Script(previous=closed_without_cedar(), server_round=2)
    script.roster(ash=T0, birch=T0)
    script.on(event)
    assert script.state.late["cedar"].standing is standing
    sent = list(script.sent)
    script.after(50)
    assert script.sent == sent


def test_no_round_waits_for_a_late_reply():
    script = Script(previous=closed_without_cedar(), server_round=2)
    script.everybody()
    script.accept("ash", "birch", "cedar")
    assert script.state.phase is Phase.CLOSED
    assert script.state.late["cedar"].standing is Standing.ASKED


def test_a_degraded_round_tried_again_keeps_what_it_has():
    script = Script(quorum=3)
    script.everybody()
    script.accept("ash")
    script.on(ReplyLost("birch", 1, "birch-1", "error 3"))
    script.after(100)
    assert script.state.phase is Phase.DEGRADED
    script.now += 5000
    script.state = reopen_round(script.state, now=script.now, deadline_s=100)
    assert script.state.accepted == ("ash",)
    assert script.turn("birch").asks == 0
    assert script.turn("cedar").pending, "a message that is out may still be answered"
    script.everybody()
    assert not [m for m in script.sent[3:] if m.startswith("ash")]
    script.accept("birch", "cedar")
    assert script.state.phase is Phase.CLOSED


def test_replies_that_waited_while_the_coordinator_was_down_are_pulled_before_the_deadline_counts():
    script = Script()
    script.everybody()
    script.now += 500
    assert script.roster() == ("ash-0", "birch-1", "cedar-2")
    assert script.state.phase is Phase.OPEN
    script.accept("ash", "birch", "cedar")
    assert script.state.phase is Phase.CLOSED


EVENTS = st.one_of(
    st.just(Ticked()),
    st.builds(
        lambda flags: RosterSeen(
            tuple(
                StudioNode(s, i, on, at) for i, (s, (on, at)) in enumerate(zip(STUDIOS, flags, strict=True))
            )
        ),
        st.lists(st.tuples(st.booleans(), st.floats(900, 1200)), min_size=3, max_size=3),
    ),
    st.builds(UpdateAccepted, st.sampled_from(STUDIOS), st.integers(1, 2), st.just(4)),
    st.builds(UpdateRejected, st.sampled_from(STUDIOS), st.integers(1, 2), st.just("norm")),
    st.builds(AskFailed, st.sampled_from(STUDIOS), st.just("away")),
    st.builds(StudioRevoked, st.sampled_from(STUDIOS)),
    st.builds(
        StudioRefused, st.sampled_from(STUDIOS), st.just(2), st.just("x"), st.sampled_from(RefusalCode)
    ),
    st.builds(ReplyLost, st.sampled_from(STUDIOS), st.just(2), st.just("x"), st.just("3"), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=40), st.integers(1, 3))
def test_whatever_happens_the_round_keeps_its_promises(events, quorum):
    script = Script(quorum=quorum, previous=closed_without_cedar(), server_round=2)
    for event, wait in events:
        before = script.state
        script.now += wait
        script.on(event)
        for studio, turn in script.state.turns.items():
            if before.turns[studio].standing.is_settled:
                assert turn.standing in (before.turns[studio].standing, Standing.REVOKED)
                assert turn.pending == before.turns[studio].pending, "the settled are left alone"
            assert turn.asks <= script.state.limits.asks_max
        if before.phase.is_over:
            assert script.state is before
        if script.state.phase is Phase.CLOSED:
            assert len(script.state.accepted) >= quorum
    script.now = max(script.now, script.state.deadline_at)
    script.on(Ticked())
    assert script.state.phase.is_over, "no round outlives its deadline"
