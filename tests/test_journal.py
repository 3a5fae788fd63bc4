"""The journal: an episode recorded by position, resumed from any part of it, replayed from all of it."""

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import JournalMismatch
from simlab.journal import Branch, Entry, Journal, Seed
from simlab.message import ChatMessage, ToolCall
from simlab.model import Reply, Request, Sampling, Usage
from simlab.schema import read_json
from simlab.simulation import together
from simlab.tool import Tool

pytestmark = pytest.mark.anyio

ASK = Request(
    role="user",
    step="question",
    messages=(ChatMessage("system", "Be brief."), ChatMessage("user", "What makes bread rise?")),
)


@dataclass
class Echo:
    """A model that repeats what it was asked, with the seed; it remembers the positions it was asked at."""

    name: str = "echo"
    small: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    asked: list = field(default_factory=list)

    async def reply(self, request):
        self.asked.append(request.path)
        return Reply(text=f"{request.messages[-1].text} {request.seed}", usage=Usage(3, 1))


class Tape:
    """What a journal writes, and where it reads texts from."""

    def __init__(self):
        self.entries: list[Entry] = []
        self.texts = {}

    def write(self, item, entry, texts, reply, name):
        self.entries.append(entry)
        self.texts.update(texts)

    def journal(self, entries=(), **options):
        recorded = {entry.path: entry for entry in entries}
        return Journal(recorded=recorded, read=self.texts.__getitem__, write=self.write, **options)


def asking(text, **changes):
    return replace(ASK, messages=(ChatMessage("user", text),), **changes)


async def recorded(*requests, model=None):
    """A tape of an episode that asked these one after another."""
    tape = Tape()
    branch = tape.journal().root
    for request in requests:
        await branch.ask(model or Echo(), request)
    return tape


# --- record, resume, replay -----------------------------------------------------------------------------------

# A plan is what an episode does: True is an ask, a list is a split whose branches run at the same time.
plans = st.recursive(
    st.just(True), lambda inner: st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3), max_leaves=8
)


async def play(branch: Branch, model, plan, label=""):
    """All replies of an episode, in order of its plan."""
    replies = []
    for i, step in enumerate(plan):
        where = f"{label}/{i}"
        if step is True:
            replies.append((await branch.ask(model, asking(f"at {where}"))).text)
        else:
            jobs = [
                partial(play, one, model, steps, f"{where}.{n}")
                for n, (one, steps) in enumerate(zip(branch.split(len(step)), step, strict=True))
            ]
            replies += [text for part in await together(jobs) for text in part]
    return replies


@settings(max_examples=15, deadline=None)
@given(st.lists(plans, max_size=5), st.data())
async def test_an_episode_resumes_from_any_part_of_its_recording_and_asks_only_for_the_rest(plan, data):
    tape, model = Tape(), Echo()
    told = await play(tape.journal().root, model, plan)
    entries = list(tape.entries)
    assert [entry.path for entry in entries] == model.asked
    assert len(set(model.asked)) == len(model.asked)

    cut = data.draw(st.integers(0, len(entries)), label="cut")
    kept, later = tape.journal(entries[:cut]), Echo()
    tape.entries.clear()
    assert await play(kept.root, later, plan) == told
    assert sorted(tape.entries) == sorted(entries[cut:])
    assert sorted(later.asked) == sorted(entry.path for entry in entries[cut:])
    assert kept.left_over == []
    assert kept.asked == len(entries)


async def test_a_replay_asks_the_model_nothing_and_tells_the_same():
    plan = [True, [[True, True], [[[True]]]], True]
    tape, nobody = Tape(), Echo()
    told = await play(tape.journal().root, Echo(), plan)
    entries = list(tape.entries)
    journal = tape.journal(entries, sealed=True)
    assert await play(journal.root, nobody, plan) == told
    assert nobody.asked == []
    assert tape.entries == entries
    assert journal.left_over == []


async def test_all_of_a_reply_comes_back_from_its_recording():
    said = Reply(
        text="Let me look. 🍞",
        calls=(ToolCall("call_1", "look", {"where": ["oven", 2**70]}),),
        finish="tool_calls",
        reasoning="It may be in the oven.",
        usage=Usage(11, 7),
    )

    class Once(Echo):
        async def reply(self, request):
            return said

    tape = await recorded(ASK, model=Once())
    assert await tape.journal(tape.entries, sealed=True).root.ask(Echo(), ASK) == said


async def test_every_text_a_request_refers_to_is_handed_over_with_it():
    tool, schema = Tool("look", "Look somewhere."), {"type": "string"}
    tape = await recorded(replace(ASK, tools=(tool,), schema=schema))
    asked, answered = (read_json(part) for part in tape.entries[0][1:3])
    keys = [*(key.split(":")[1] for key in asked["messages"]), asked["schema"], *asked["tools"], answered["text"]]
    assert set(keys) == set(tape.texts)
    assert read_json(tape.texts[asked["schema"]]) == schema


async def test_a_journal_that_keeps_nothing_still_asks():
    model = Echo()
    reply = await Journal().root.ask(model, ASK)
    assert reply.text.startswith("What makes bread rise?")
    assert model.asked == ["0"]


# --- what differs ---------------------------------------------------------------------------------------------


async def test_a_changed_prompt_is_named_with_both_texts():
    tape = await recorded(ASK)
    changed = replace(ASK, messages=(ChatMessage("system", "Be long."), ASK.messages[1]))
    with pytest.raises(JournalMismatch) as caught:
        await tape.journal(tape.entries).root.ask(Echo(), changed)
    assert str(caught.value) == "journal entry 0: message 0 was 'system: Be brief.', is now 'system: Be long.'"


async def test_the_first_message_that_differs_is_named_and_a_long_one_is_cut():
    tape = await recorded(ASK)
    changed = replace(ASK, messages=(ASK.messages[0], ChatMessage("user", "Why? " * 40)))
    with pytest.raises(
        JournalMismatch, match=r"message 1 was 'user: What makes bread rise\?', is now 'user: Why\?.*\.\."
    ) as caught:
        await tape.journal(tape.entries).root.ask(Echo(), changed)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"role": "assistant"}, 'role was "user", is now "assistant"'),
        ({"step": "answer"}, 'step was "question", is now "answer"'),
        ({"sampling": Sampling(temperature=0.5)}, 'sampling was null, is now {"temperature":0.5}'),
        ({"schema": {}}, "schema was null, is now "),
        ({"tools": (Tool("look"),)}, "tools was null, is now "),
        ({"messages": ASK.messages[:1]}, "there were 2 messages, there are now 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_whatever_else_of_a_request_changed_is_named(change, difference):
    tape = await recorded(ASK)
    with pytest.raises(JournalMismatch, match="journal entry 0: ") as caught:
        await tape.journal(tape.entries).root.ask(Echo(), replace(ASK, **change))
    assert difference in str(caught.value)


async def test_another_model_is_named():
    tape = await recorded(ASK)
    with pytest.raises(JournalMismatch, match='model was "echo", is now "parrot"'):
        await tape.journal(tape.entries).root.ask(Echo(name="parrot"), ASK)


async def test_another_seed_is_named():
    tape = await recorded(ASK)
    with pytest.raises(JournalMismatch, match=r"seed was \d+, is now \d+"):
        await tape.journal(tape.entries, seed=Seed(1, "")).root.ask(Echo(), ASK)


async def test_a_replay_that_asks_for_more_than_was_recorded_says_what_is_missing():
    tape = await recorded(ASK)
    branch = tape.journal(tape.entries, sealed=True).root
    await branch.ask(Echo(), ASK)
    with pytest.raises(JournalMismatch, match="journal entry 1: the user asks for a question here, but nothing was"):
        await branch.ask(Echo(), ASK)


async def test_a_replay_that_asks_for_less_leaves_the_rest_over():
    tape = await recorded(ASK, asking("And then?"))
    journal = tape.journal(tape.entries, sealed=True)
    await journal.root.ask(Echo(), ASK)
    assert journal.left_over == tape.entries[1:]


@pytest.mark.parametrize("lost", [True, False])
async def test_without_the_texts_a_changed_message_is_named_by_its_key(lost):
    tape = await recorded(ASK)
    journal = Journal(recorded={"0": tape.entries[0]}, read={}.__getitem__ if lost else None)
    with pytest.raises(JournalMismatch, match=f"message 1 was '{ASK.messages[1].key}', is now 'user: Why?"):
        await journal.root.ask(Echo(), replace(ASK, messages=(ASK.messages[0], ChatMessage("user", "Why?"))))


async def test_a_plain_reply_is_stored_as_its_text_its_finish_and_its_usage():
    tape = await recorded(ASK)
    answered = read_json(tape.entries[0].answered)
    assert set(answered) == {"text", "finish", "usage"}
    assert (answered["finish"], answered["usage"]) == ("stop", [3, 1])


@pytest.mark.parametrize("answered", ["", "{}", '{"text":"gone","finish":"stop","usage":[0,0]}', '{"text":1}'])
async def test_a_recorded_reply_that_cannot_be_read_is_a_mismatch_and_not_a_crash(answered):
    tape = await recorded(ASK)
    broken = [tape.entries[0]._replace(answered=answered)]
    with pytest.raises(JournalMismatch, match="journal entry 0: the stored reply cannot be read"):
        await tape.journal(broken).root.ask(Echo(), ASK)


async def test_a_recorded_request_that_cannot_be_read_is_a_mismatch_and_not_a_crash():
    tape = await recorded(ASK)
    with pytest.raises(JournalMismatch, match="the stored request is not JSON"):
        await tape.journal([tape.entries[0]._replace(asked="{")]).root.ask(Echo(), ASK)


# --- positions, seeds and dice --------------------------------------------------------------------------------


def test_positions_count_asks_and_splits_and_within_a_split_begin_anew():
    branch = Journal().root
    first = branch.advance()
    left, right = branch.split(2)
    assert [first, left.advance(), left.advance(), right.advance(), branch.advance()] == [
        "0",
        "1.0.0",
        "1.0.1",
        "1.1.0",
        "2",
    ]


def test_two_splits_of_one_branch_share_no_position_and_no_die():
    branch = Journal().root
    parts = [*branch.split(2), *branch.split(2)]
    assert len({part.advance() for part in parts}) == 4
    assert len({part.die.bits() for part in parts}) == 4


def test_the_die_of_a_branch_does_not_depend_on_what_its_siblings_did():
    idle, busy = Journal().root.split(2), Journal().root.split(2)
    for _ in range(5):
        busy[0].advance()
        busy[0].die.bits()
    assert busy[1].die.bits() == idle[1].die.bits()


async def seed_at(run=0, recipe="", item=0, skip=0, request=ASK):
    seeds = []

    class Notes(Echo):
        async def reply(self, request):
            seeds.append(request.seed)
            return await super().reply(request)

    branch = Journal(item, seed=Seed(run, recipe)).root
    for _ in range(skip):
        branch.advance()
    await branch.ask(Notes(), request)
    return seeds[0]


async def test_the_seed_of_a_request_depends_on_its_position_and_not_on_what_is_asked():
    other = asking("Something else", role="critic", step="review", sampling=Sampling(temperature=1.0), item=9, seed=9)
    assert await seed_at(run=3, item=5, skip=2, request=other) == await seed_at(run=3, item=5, skip=2)


async def test_the_seeds_of_other_runs_recipes_items_and_positions_differ():
    places = [{}, {"run": 1}, {"recipe": "dialogue"}, {"item": 1}, {"skip": 1}, {"skip": 10}, {"item": 10}]
    seeds = [await seed_at(**place) for place in places]
    assert len(set(seeds)) == len(places)
    assert all(0 <= seed < 2**31 for seed in seeds)  # some endpoints take no more


async def test_asking_does_not_move_the_die_of_the_branch():
    asks, throws = Journal().root, Journal().root
    await asks.ask(Echo(), ASK)
    assert asks.die.bits() == throws.die.bits()


async def test_a_model_is_told_where_it_is_asked_and_its_own_sampling_wins():
    requests = []

    class Notes(Echo):
        async def reply(self, request):
            requests.append(request)
            return await super().reply(request)

    model = Notes(sampling=Sampling(temperature=0.0))
    await Journal(7).root.ask(model, replace(ASK, sampling=Sampling(temperature=0.9, max_tokens=40)))
    (request,) = requests
    assert (request.item, request.path) == (7, "0")
    assert request.sampling == Sampling(temperature=0.0, max_tokens=40)
