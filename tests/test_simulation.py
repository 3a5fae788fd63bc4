"""The event loop, told as small stories: who speaks, who hears it, and when it is over."""

from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.agent import End, Wake
from simlab.errors import AgentFault
from simlab.journal import Journal
from simlab.message import ChatMessage, Message
from simlab.model import Reply, Request, Sampling
from simlab.simulation import Simulation, together
from simlab.trace import as_chat, seen

pytestmark = pytest.mark.anyio


class Says:
    """Says its lines, one a turn, and is then silent; remembers what it heard and from which seat."""

    def __init__(self, name, *lines):
        self.name = name
        self.lines = list(lines)
        self.heard = []
        self.seat = None

    async def reply(self, turn):
        self.heard.append([message.text for message in turn.heard])
        self.seat = turn.seat
        return self.lines.pop(0) if self.lines else None


@dataclass
class Does:
    """Replies by a function of its turn."""

    name: str
    act: object

    async def reply(self, turn):
        return await self.act(turn)


@dataclass
class Reviews:
    """Says nothing and rewrites what others are about to say."""

    name: str
    change: object
    saw: list = field(default_factory=list)

    async def reply(self, turn):
        return None

    async def intercept(self, message, turn):
        self.saw.append(message.text)
        return self.change(message)


def told(trace):
    """The events as (time, sender, text)."""
    return [(event.time, event.sender, event.text) for event in trace.events]


def texts(trace):
    return [event.text for event in trace.events]


# --- taking turns ---------------------------------------------------------------------------------------------


async def test_two_agents_take_turns_until_one_has_nothing_more_to_say():
    user, assistant = Says("user", "Hi", "How?", "Why?"), Says("assistant", "Hello", "So.")
    trace = await Simulation([user, assistant]).run()
    assert [str(event) for event in trace.events] == [
        "user: Hi",
        "assistant: Hello",
        "user: How?",
        "assistant: So.",
        "user: Why?",
    ]
    assert trace.end == "completed"
    assert {event.time for event in trace.events} == {0.0}


async def test_the_first_of_the_cast_opens_unless_another_is_named():
    cast = [Says("user", "Hi"), Says("assistant", "Welcome")]
    trace = await Simulation(cast, opens="assistant").run()
    assert texts(trace) == ["Welcome", "Hi"]


async def test_when_nobody_opens_the_talk_it_is_over():
    trace = await Simulation([Says("user"), Says("assistant", "Hello?")]).run()
    assert (trace.end, trace.events) == ("completed", [])


async def test_each_sees_its_own_words_as_the_assistants_and_the_others_as_the_users():
    user, assistant = Says("user", "Hi", "Bye"), Says("assistant", "Hello")
    trace = await Simulation([user, assistant]).run()
    assert user.seat.chat == [
        ChatMessage("assistant", "Hi"),
        ChatMessage("user", "Hello"),
        ChatMessage("assistant", "Bye"),
    ]
    assert assistant.seat.chat == [
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Hello"),
        ChatMessage("user", "Bye"),
    ]
    assert (trace.view("user"), trace.view("assistant")) == (user.seat.chat, assistant.seat.chat)


async def test_a_user_who_writes_twice_is_heard_at_once_and_answered_once():
    user, assistant = Says("user", ["One thing.", "And another."]), Says("assistant", "Both, then.")
    trace = await Simulation([user, assistant]).run()
    assert assistant.heard == [["One thing.", "And another."]]
    assert texts(trace) == ["One thing.", "And another.", "Both, then."]


# --- more than two --------------------------------------------------------------------------------------------


async def test_a_third_in_the_room_hears_all_and_sees_who_said_what():
    mara, joren, quiet = Says("mara", "Bread?"), Says("joren", "Rye."), Says("quiet")
    trace = await Simulation([mara, joren, quiet]).run()
    assert trace.view("quiet") == [ChatMessage("user", "mara: Bread?"), ChatMessage("user", "joren: Rye.")]
    assert quiet.seat.chat == trace.view("quiet")
    assert trace.view("joren") == [ChatMessage("user", "mara: Bread?"), ChatMessage("assistant", "Rye.")]
    assert trace.events[1].heard_by == ("mara", "quiet")


async def test_what_is_whispered_to_one_is_not_heard_by_the_others():
    mara = Says("mara", Message("mara", "Between us.", to=("joren",)))
    joren, outsider = Says("joren", Message("joren", "Sure.", to=("mara",))), Says("outsider", "What?")
    trace = await Simulation([mara, joren, outsider]).run()
    assert texts(trace) == ["Between us.", "Sure."]
    assert outsider.heard == []
    assert trace.view("outsider") == []


async def test_two_who_answer_at_once_both_speak_before_either_hears_the_other():
    chair, left, right = Says("chair", "Well?"), Says("left", "Aye."), Says("right", "No.")
    trace = await Simulation([chair, left, right]).run()
    assert texts(trace) == ["Well?", "Aye.", "No."]
    assert left.heard == [["Well?"], ["No."]]
    assert right.heard == [["Well?"], ["Aye."]]
    assert chair.heard == [[], ["Aye.", "No."]]


class Waits:
    """A model that answers `first` only when it has answered `second`."""

    name, small, sampling = "waits", False, Sampling()

    def __init__(self):
        self.second_is_done = anyio.Event()
        self.finished = []

    async def reply(self, request):
        if request.role == "first":
            await self.second_is_done.wait()
        self.finished.append(request.role)
        self.second_is_done.set()
        return Reply(text=f"{request.role} at {request.path}")


async def test_two_who_answer_at_once_post_in_order_of_the_cast_whichever_is_ready_first():
    model, paths = Waits(), []

    async def ask(turn):
        if turn.seat.spoken:
            return None
        role = turn.seat.name
        reply = await turn.ask(model, Request(role=role, step="", messages=turn.chat))
        return Message(role, reply.text, to=("host",))

    journal = Journal(write=lambda item, entry, texts, reply, name: paths.append(entry.path))
    cast = [Says("host", "Go!"), Does("first", ask), Does("second", ask)]
    trace = await Simulation(cast, branch=journal.root).run()
    assert model.finished == ["second", "first"]
    assert texts(trace) == ["Go!", "first at 0.0.0", "second at 0.1.0"]
    assert sorted(paths) == ["0.0.0", "0.1.0"]


async def test_what_is_posted_from_outside_is_heard_by_all_in_the_room():
    user, assistant = Says("user", "Hi"), Says("assistant", "Hello")
    simulation = Simulation([user, assistant])
    simulation.post(Message("doorbell", "Ding!", delay=5.0))
    trace = await simulation.run()
    assert told(trace)[-1] == (5.0, "doorbell", "Ding!")
    assert trace.events[-1].heard_by == ("user", "assistant")
    assert user.heard[-1] == assistant.heard[-1] == ["Ding!"]


# --- interceptors ---------------------------------------------------------------------------------------------


async def test_an_interceptor_changes_a_line_and_nobody_sees_the_original():
    user, assistant = Says("user", "Which shoe?", "Thanks"), Says("assistant", "The pink one.")
    critic = Reviews("critic", lambda m: Message(m.sender, m.text.replace("pink", "grey")))
    trace = await Simulation([user, assistant, critic]).run()
    assert texts(trace) == ["Which shoe?", "The grey one.", "Thanks"]
    assert critic.saw == ["Which shoe?", "The pink one.", "Thanks"]
    seats = [user.seat.chat, assistant.seat.chat, *map(trace.view, trace.cast)]
    assert not any("pink" in message.text for chat in seats for message in chat)


async def test_a_line_that_an_interceptor_holds_back_was_never_said():
    user, assistant = Says("user", "Which shoe?"), Says("assistant", "The pink one.")
    critic = Reviews("critic", lambda m: None if "pink" in m.text else m)
    trace = await Simulation([user, assistant, critic]).run()
    assert texts(trace) == ["Which shoe?"]
    assert assistant.seat.spoken == 0
    assert trace.end == "completed"


async def test_a_line_that_is_held_back_is_not_shown_to_the_next_interceptor():
    strict, second = Reviews("strict", lambda m: None), Reviews("second", lambda m: m)
    trace = await Simulation([Says("user", "Hi"), strict, second]).run()
    assert (strict.saw, second.saw, trace.events) == (["Hi"], [], [])


async def test_each_of_several_lines_is_reviewed_when_those_before_it_were_said():
    def second(message):
        if message.text == "two":
            raise AgentFault("no more")
        return message

    trace = await Simulation([Says("user", ["one", "two"]), Says("assistant"), Reviews("critic", second)]).run()
    assert (texts(trace), trace.end) == (["one"], "agent_error")


async def test_interceptors_take_a_line_in_order_of_the_cast_and_none_reviews_itself():
    class Talks(Reviews):
        async def reply(self, turn):
            return None if turn.seat.spoken else "mine"

    talks = Talks("talks", lambda m: Message(m.sender, m.text + " talks"))
    adds = Reviews("adds", lambda m: Message(m.sender, m.text + " adds"))
    trace = await Simulation([Says("user", "Hi"), talks, adds]).run()
    assert texts(trace) == ["Hi talks adds", "mine adds"]


# --- virtual time ---------------------------------------------------------------------------------------------


async def test_a_delayed_message_is_heard_at_its_time_and_others_speak_meanwhile():
    user = Says("user", ["Now.", Message("user", "Later.", delay=60.0)])
    assistant = Says("assistant", "At once.", "A minute on.")
    trace = await Simulation([user, assistant]).run()
    assert told(trace) == [
        (0.0, "user", "Now."),
        (0.0, "assistant", "At once."),
        (60.0, "user", "Later."),
        (60.0, "assistant", "A minute on."),
    ]


async def test_a_turn_knows_what_time_it_is():
    clock = []

    async def look(turn):
        clock.append(turn.now)
        return Wake(2.5) if len(clock) < 3 else None

    await Simulation([Does("watch", look)]).run()
    assert clock == [0.0, 2.5, 5.0]


def impatient(patience):
    """A user who asks once and gives up when woken before an answer came."""

    async def act(turn):
        if not turn.seat.spoken:
            return [Message("user", "Anyone?"), Wake(patience)]
        return None if turn.heard else End("user_gave_up", "no answer")

    return Does("user", act)


async def test_a_user_gives_up_waiting_for_an_answer_that_would_have_come_too_late():
    slow = Says("assistant", Message("assistant", "Here!", delay=60.0))
    simulation = Simulation([impatient(30.0), slow])
    trace = await simulation.run()
    assert (trace.end, trace.detail) == ("user_gave_up", "no answer")
    assert told(trace) == [(0.0, "user", "Anyone?")]
    assert simulation.now == 30.0


async def test_an_answer_on_time_is_heard_by_a_user_who_would_have_given_up():
    prompt = Says("assistant", Message("assistant", "Here!", delay=10.0))
    simulation = Simulation([impatient(30.0), prompt])
    await simulation.step()
    assert not simulation.end
    await simulation.step()
    events = await simulation.step()
    assert [(event.time, event.text) for event in events] == [(10.0, "Here!")]


async def test_what_arrives_and_a_wake_at_the_same_time_are_one_turn():
    user = Says("user", [Message("user", "one", delay=5.0), Message("user", "two", delay=5.0)])
    assistant = Says("assistant", [Wake(5.0), Wake(6.0)])
    await Simulation([Says("host", "Go!"), user, assistant]).run()
    assert assistant.heard == [["Go!"], ["one", "two"], []]


# --- ends -----------------------------------------------------------------------------------------------------


async def test_the_last_words_said_with_an_end_are_heard_and_not_answered():
    user, assistant = Says("user", "Hi", ["That is all.", End("goal_met")]), Says("assistant", "Hello", "Wait!")
    trace = await Simulation([user, assistant]).run()
    assert texts(trace) == ["Hi", "Hello", "That is all."]
    assert trace.end == "goal_met"
    assert trace.view("assistant")[-1] == ChatMessage("user", "That is all.")
    assert assistant.lines == ["Wait!"]


async def test_last_words_may_take_their_time():
    user = Says("user", [End("goal_met"), Message("user", "Bye.", delay=3.0)])
    trace = await Simulation([user, Says("assistant")]).run()
    assert told(trace) == [(3.0, "user", "Bye.")]


async def test_what_others_say_in_the_instant_of_an_end_is_heard_too():
    cast = [Says("host", "Go?"), Says("quits", End("agent_refused", "no")), Says("goes", "Going.")]
    trace = await Simulation(cast).run()
    assert texts(trace) == ["Go?", "Going."]
    assert (trace.end, trace.detail) == ("agent_refused", "no")


async def test_after_the_end_nothing_happens_any_more():
    simulation = Simulation([Says("user", End("goal_met"), "More!")])
    await simulation.run()
    assert await simulation.step() == []
    assert await simulation.run() is simulation.trace
    assert simulation.trace.events == []
    assert simulation.end == "goal_met"


async def test_a_talk_without_an_end_of_its_own_stops_at_the_limit():
    parrots = [Says(name, *["again"] * 50) for name in ("left", "right")]
    trace = await Simulation(parrots, turns=5).run()
    assert (trace.end, len(trace.events)) == ("turn_limit", 5)
    assert [len(parrot.heard) for parrot in parrots] == [3, 2]  # the fifth line is heard and answered by nobody


async def test_an_agent_that_cannot_go_on_ends_the_episode_which_is_kept():
    async def fail(turn):
        raise AgentFault("assistant: refusal")

    trace = await Simulation([Says("user", "Hi"), Does("assistant", fail)]).run()
    assert (trace.end, trace.detail) == ("agent_error", "assistant: refusal")
    assert texts(trace) == ["Hi"]


async def test_writing_to_someone_who_is_not_in_the_room_is_a_fault_of_the_agent():
    user = Says("user", Message("user", "Psst", to=("nobody",)))
    trace = await Simulation([user, Says("assistant")]).run()
    assert trace.end == "agent_error"
    assert "'nobody'" in trace.detail
    assert trace.events == []


# --- bugs -----------------------------------------------------------------------------------------------------


async def test_a_bug_is_raised_as_it_is():
    async def bug(turn):
        raise ValueError("off by one")

    with pytest.raises(ValueError, match="off by one"):
        await Simulation([Does("user", bug)]).run()


async def test_of_two_bugs_at_once_the_first_in_the_cast_is_raised_as_it_is_when_all_are_done():
    done = []
    second_failed = anyio.Event()

    async def slow_bug(turn):
        await second_failed.wait()
        raise ValueError("first")

    async def quick_bug(turn):
        second_failed.set()
        raise KeyError("second")

    async def works(turn):
        await second_failed.wait()
        done.append(turn.seat.name)

    cast = [Says("host", "Go!"), Does("a", slow_bug), Does("b", quick_bug), Does("c", works)]
    with pytest.raises(ValueError, match="first"):
        await Simulation(cast).run()
    assert done == ["c"]


@pytest.mark.parametrize("room", [[], [Reviews("critic", lambda m: m)]])
@pytest.mark.parametrize("answer", [5, [5], {"text": "Hi"}, ["Hi", None], b"Hi", ["Hi", ["there"]]])
async def test_an_answer_of_another_kind_is_a_bug_that_names_the_agent(answer, room):
    with pytest.raises(TypeError, match=r"user replied with (int|dict|NoneType|bytes|list)"):
        await Simulation([Says("user", answer), Says("assistant"), *room]).run()


@pytest.mark.parametrize("names", [["user", "user"], []])
def test_a_room_needs_agents_with_names_of_their_own(names):
    with pytest.raises(ValueError, match="at least one agent, and each a name of its own"):
        Simulation([Says(name) for name in names])


def test_someone_who_is_not_in_the_room_cannot_open_the_talk():
    with pytest.raises(ValueError, match="'assistent' cannot open"):
        Simulation([Says("user"), Says("assistant")], opens="assistent")


# --- watching -------------------------------------------------------------------------------------------------


def talkative():
    return [
        Says("mara", ["Hi", Message("mara", "Later", delay=9.0)], "Hm", Wake(1.0), ["Bye", End("goal_met")]),
        Says("joren", "Hello", Message("joren", "psst", to=("mara",)), "Oh"),
        Says("quiet", None, Message("quiet", "slow", delay=2.0)),
    ]


async def test_watching_the_events_and_running_to_the_end_give_the_same_trace():
    watched = Simulation(talkative())
    events = [event async for event in watched]
    ran = await Simulation(talkative()).run()
    assert watched.trace == ran
    assert events == ran.events
    assert ran.end == "goal_met"


async def test_whoever_watches_sees_the_event_at_which_the_limit_is_met():
    simulation = Simulation([Says("left", *"abc"), Says("right", *"xyz")], turns=3)
    assert [event.text async for event in simulation] == ["a", "x", "b"]
    assert simulation.end == "turn_limit"


async def test_while_watching_each_event_is_seen_before_the_next_is_made():
    user, assistant = Says("user", "Hi", "Bye"), Says("assistant", "Hello")
    counts = [len(user.heard) async for _ in Simulation([user, assistant])]
    assert counts == [1, 2, 2]


# --- what is kept ---------------------------------------------------------------------------------------------


async def test_a_trace_is_stored_with_times_senders_listeners_and_notes_and_its_texts_apart():
    user = Says("user", Message("user", "Hi", notes={"tries": 2}), [Message("user", "Hi", delay=4.0), End("goal_met")])
    trace = await Simulation([user, Says("assistant", "Hello")]).run()
    hi, hello = Message("user", "Hi").key, Message("assistant", "Hello").key
    assert trace.as_json() == {
        "cast": ["user", "assistant"],
        "events": [
            {"at": 0.0, "from": "user", "to": ["assistant"], "said": hi, "notes": {"tries": 2}},
            {"at": 0.0, "from": "assistant", "to": ["user"], "said": hello},
            {"at": 4.0, "from": "user", "to": ["assistant"], "said": hi},
        ],
        "end": "goal_met",
    }
    assert trace.texts() == {hi: '"Hi"', hello: '"Hello"'}
    assert [message.text for message in trace.messages] == ["Hi", "Hello", "Hi"]


async def test_a_trace_keeps_the_detail_of_its_end():
    trace = await Simulation([Says("user", End("agent_refused", "no oven"))]).run()
    assert trace.as_json() == {"cast": ["user"], "events": [], "end": "agent_refused", "detail": "no oven"}


def test_messages_are_seen_from_a_seat_with_names_only_when_there_are_several_others():
    said = [Message("mara", "Hi"), Message("joren", "Hello")]
    assert as_chat(said, "mara") == [ChatMessage("assistant", "Hi"), ChatMessage("user", "Hello")]
    assert as_chat(said, "joren", others=2)[0] == ChatMessage("user", "mara: Hi")
    assert seen(said[0], "joren") == (ChatMessage("user", "Hi"),)


# --- doing things together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 5])
async def test_results_come_in_order_of_the_jobs_however_many_there_are(count):
    done = [anyio.Event() for _ in range(count + 1)]
    done[count].set()

    async def job(i):  # each waits for the one after it
        await done[i + 1].wait()
        done[i].set()
        return i

    assert await together([partial(job, i) for i in range(count)]) == list(range(count))


async def test_an_agents_random_choices_depend_on_its_position_and_not_on_who_else_draws():
    drawn = {}

    def draws(name, times):
        async def act(turn):
            drawn[name] = [turn.die.bits() for _ in range(times)]

        return Does(name, act)

    await Simulation([Says("host", "Go!"), draws("one", 1), draws("two", 1)]).run()
    once = dict(drawn)
    await Simulation([Says("host", "Go!"), draws("one", 9), draws("two", 1)]).run()
    assert drawn["two"] == once["two"]
    assert len(set(drawn["one"])) == 9
    assert drawn["one"][:1] == once["one"] != once["two"]


# --- what each of them sees -----------------------------------------------------------------------------------


@st.composite
def casts(draw):
    """Up to four agents, each with a few turns of up to two numbered lines, to some or to all, now or later."""
    names = "abcd"[: draw(st.integers(1, 4))]
    count, agents = 0, []
    for name in names:
        others = [other for other in names if other != name]
        turns = []
        for _ in range(draw(st.integers(0, 3))):
            said = []
            for _ in range(draw(st.integers(0, 2))):
                to = draw(st.lists(st.sampled_from(others), unique=True)) if others else []
                said.append(Message(name, f"line {count}", tuple(to), delay=draw(st.sampled_from([0.0, 0.0, 5.0]))))
                count += 1
            turns.append(said)
        agents.append(Says(name, *turns))
    return agents


@settings(max_examples=40, deadline=None)
@given(casts())
async def test_a_line_is_seen_once_by_who_said_it_and_by_each_who_heard_it_and_by_nobody_else(cast):
    trace = await Simulation(cast).run()
    assert trace.end == "completed"
    named = len(cast) > 2
    for agent in cast:
        mine = [e for e in trace.events if agent.name in (e.sender, *e.heard_by)]
        expected = sorted(
            ("assistant", e.text) if e.sender == agent.name else ("user", f"{e.sender}: {e.text}" if named else e.text)
            for e in mine
        )
        chat = agent.seat.chat if agent.seat else []  # who never had a turn has said and heard nothing
        assert sorted((m.role, m.text) for m in chat) == expected
        assert sorted((m.role, m.text) for m in trace.view(agent.name)) == expected
        heard = [text for turn in agent.heard for text in turn]
        assert heard == [e.text for e in trace.events if agent.name in e.heard_by]


@settings(max_examples=25, deadline=None)
@given(casts())
async def test_time_never_runs_backwards_and_everything_said_is_heard_in_the_end(cast):
    trace = await Simulation(cast, turns=1000).run()
    times = [event.time for event in trace.events]
    assert times == sorted(times)
    spoken = sum(agent.seat.spoken for agent in cast if agent.seat)
    assert len(trace.events) == spoken
