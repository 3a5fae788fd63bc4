"""Preference pairs about what must not come up: Pink Elephants by Direct Principle Feedback.

Castricato et al., *Suppressing Pink Elephants with Direct Principle Feedback*, 2024 (arXiv 2402.07896):
topics -> pairs of a grey and a pink thing -> plans -> dialogues that begin at the grey one and end with the
user asking about the pink one -> the last reply is criticised and revised -> revision preferred over original.
Two gates decide the quality: the original mentions the pink one, the revision does not.

What is ours: every dialogue is answered twice at the end, with and without the rule, so that the rates which
the paper reports can be read off the run; each pair comes with its mirror under a neutral system message, so
that a model does not learn never to name things; a small model keeps to the script and revises under a ban.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from simlab.checks.grounding import not_a_question, ungrounded
from simlab.checks.mentions import kind_of_mention, named
from simlab.die import Die
from simlab.errors import Drop, InputError, nearest
from simlab.files import read_seeds
from simlab.lab import Lab, Seeds
from simlab.message import ChatMessage
from simlab.model import Sampling
from simlab.prompt import Prompt
from simlab.record import Preference
from simlab.roles import Beat, Speaker
from simlab.scenario import Elephant, PinkElephantScenario, introduced
from simlab.schema import closed_object
from simlab.text import words

PLAYS = ("pink_elephant",)
NEUTRAL = "You are a helpful assistant."
RULES = (
    "You are a helpful assistant. Talk about {grey}; never mention {pink}.",
    "You advise people on {grey}. Do not bring up {pink}, and when asked about it, lead the talk back to {grey}.",
    "You are an assistant for friends of {grey}. The subject of {pink} is off limits: neither name nor describe it.",
    "Help the user with {grey}. {pink} must not be discussed under any circumstances.",
)
WAYS = (
    "a friend has praised the other one", "the price of the first makes them hesitate", "they want to compare the two",
    "they saw a picture of the other one", "they fear to make the wrong choice", "they read that others prefer it",
    "an earlier bad experience comes up", "someone at home wants the other one",
)  # fmt: skip
PAIRS = Prompt(
    step="pairs",
    system="You collect pairs of things that people hesitate between. Answer with JSON only.",
    ask="Topic: {topic}. Give {count} pairs of true alternatives whose difference a lay person can name, and for each"
    " what someone wants who hesitates between them, naming neither.",
    sampling=Sampling(temperature=1.0, max_tokens=900),
)
PLAN = Prompt(
    step="plan",
    system="You plan conversations. Answer with one sentence.",
    ask="A user who wants {need} first talks with an assistant about {grey} and in the end asks about {pink}, because"
    " {way}. Say how the talk gets there.",
    sampling=Sampling(temperature=1.0, max_tokens=80),
)
OPENING = Prompt(
    step="opening",
    system="{who} You write to an assistant. Write one short message, in your own words.",
    ask="You want {need} and are thinking of {grey}. Ask about {grey} only.",
    sampling=Sampling(temperature=1.0, max_tokens=60),
)
FOLLOW_UP = Prompt(
    step="follow_up",
    system="{who} You want {need} and talk with an assistant about {grey}. Where this is going, later:"
    " {plan} For now ask one more short question about {grey}. Do not name {pink} yet.",
    sampling=Sampling(temperature=1.0, max_tokens=60),
)
STEER = Prompt(
    step="steer",
    system="{who} You want {need} and have talked with an assistant about {grey}. {plan} Now ask one short"
    " question about {pink}, by name.",
    sampling=Sampling(temperature=1.0, max_tokens=60),
)
REPLY = Prompt(step="reply", system="{system}", sampling=Sampling(temperature=0.7, max_tokens=300))
ANSWER = replace(REPLY, step="answer")
RULED = replace(REPLY, step="ruled")
SHORT = Sampling(max_tokens=80, stop=("\n",))
CRITIQUE = Prompt(
    step="critique",
    system="You check one reply against a rule: it must not refer to {pink}, neither by name ({names}) nor by"
    " description. List every reference word by word. Answer with JSON only.",
    ask="The reply: {reply}",
    schema=closed_object(
        {"references": {"type": "array", "items": {"type": "string", "maxLength": 120}, "maxItems": 20}}
    ),
    sampling=Sampling(temperature=0.0, max_tokens=300),
)
REVISE = Prompt(
    step="revise",
    system="You rewrite the last reply of a conversation. The user asked: {question} The reply was: {reply} It refers"
    " to {pink}: {references}. Write it anew without any such reference; be helpful about {grey} instead, and do not"
    " say that something is left out.",
    ask="Write the new reply and nothing else.",
    sampling=Sampling(temperature=0.7, max_tokens=300),
)
SMALL_OPENING = Prompt(
    step="opening",
    system="Write one question that a user asks about the topic.",
    examples=(
        ("Need: a quiet summer on the lake\nTopic: canoes", "Are canoes good for a quiet summer on the lake?"),
        ("Need: a first trip abroad\nTopic: Oslo", "What is Oslo like for a first trip abroad?"),
        (
            "Need: a soft light in the evening\nTopic: candles",
            "Would candles be right for a soft light in the evening?",
        ),
    ),
    ask="Need: {need}\nTopic: {grey}",
    sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=40, stop=("\n",)),
)
SMALL_FOLLOW_UP = Prompt(
    step="follow_up",
    system="Turn each fact into one short follow-up question.",
    examples=(
        ("A canoe is light enough for one person to carry.", "Can one person carry a canoe?"),
        ("Oslo lies at the end of a long fjord.", "And where does Oslo lie?"),
        ("Candles burn wax that rises through the wick.", "Then how do candles burn?"),
    ),
    ask="{fact}",
    sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=32, stop=("\n",)),
)
SMALL_STEER = replace(
    SMALL_OPENING,
    step="steer",
    examples=(
        ("Need: a quiet summer on the lake\nTopic: kayaks", "Would kayaks be better for a quiet summer on the lake?"),
        ("Need: a first trip abroad\nTopic: Bergen", "And what is Bergen like for a first trip abroad?"),
        ("Need: a soft light in the evening\nTopic: lamps", "Are lamps better for a soft light in the evening?"),
    ),
    ask="Need: {need}\nTopic: {pink}",
)
SMALL_REPLY = Prompt(
    step="reply",
    system="Answer each question with the given fact. Keep every word of the fact.",
    examples=(
        (
            "Question: Are canoes good for a quiet summer on the lake?\nFact: A canoe is light and easy to carry.",
            "A canoe is light and easy to carry.",
        ),
        (
            "Question: Where does Oslo lie?\nFact: Oslo lies at the end of a long fjord.",
            "Oslo lies at the end of a long fjord.",
        ),
    ),
    ask="Question: {heard}\nFact: {fact}",
    sampling=Sampling(temperature=0.3, top_p=0.9, max_tokens=64, stop=("\n",)),
)
SMALL_REVISE = Prompt(
    step="revise",
    system="Say that the topic is a good choice for the need, and add the fact.",
    examples=(
        (
            "Need: a quiet summer on the lake\nTopic: canoes\nFact: Canoes are light and easy to carry.",
            "Canoes are a good choice for a quiet summer on the lake. They are light and easy to carry.",
        ),
        (
            "Need: a first trip abroad\nTopic: Oslo\nFact: Oslo lies at the end of a long fjord.",
            "Oslo is a good choice for a first trip abroad. It lies at the end of a long fjord.",
        ),
        (
            "Need: a soft light in the evening\nTopic: candles\nFact: Candles burn wax that rises through the wick.",
            "Candles are a good choice for a soft light in the evening. They burn wax that rises through the wick.",
        ),
    ),
    ask="Need: {need}\nTopic: {grey}\nFact: {fact}",
    sampling=Sampling(temperature=0.5, top_p=0.9, max_tokens=80, stop=("\n",)),
)
MORE = (
    "What else is there to know about {grey}?",
    "Is there more to say about {grey}?",
    "Tell me one more thing about {grey}, would you?",
    "And what should I keep in mind about {grey}?",
)
PLANS = (
    "They first ask about {grey}, then wonder aloud whether {pink} would be better, because {way}.",
    "They praise {grey}, grow doubtful because {way}, and ask about {pink}.",
)


async def pink_elephants(
    lab: Lab,
    seeds: Seeds,
    *,
    pairs_per_topic: Annotated[
        int | None, "ours first, then the teacher's; by default all of ours, else 6 of the teacher's"
    ] = None,
    rounds: Annotated[tuple[int, int], "how often the user speaks, at least and at most"] = (2, 4),
    split_by: Annotated[str, "pair or topic: none of these, nor a pair's reverse, is in two splits"] = "pair",
    control: Annotated[bool, "add each pair's mirror under a neutral system message"] = True,
    tries: Annotated[int, "how often a line is asked for until it passes its check"] = 3,
) -> AsyncIterator[Preference]:
    """Yield one preference pair and its control; Direct Principle Feedback (arXiv 2402.07896)."""
    if split_by not in ("pair", "topic"):
        raise InputError(f"option split_by: {split_by!r}{nearest(split_by, ('pair', 'topic'))}")
    scenario = await _scenario(lab, seeds, pairs_per_topic, rounds)
    pink, grey = scenario.pink, scenario.grey
    turns = lab.die.between(*scenario.rounds)
    rule = scenario.rule or lab.die.choice(RULES).format(grey=grey.name, pink=pink.name)
    trace = await lab.simulate(_cast(lab, scenario, turns, tries), turns=scenario.ends.turns)
    *talk, last = trace.view("assistant")
    original, question = last.text, talk[-1].text

    view = {
        "system": f"{rule} {scenario.assistant.policy}".strip(),
        "topic": scenario.topic,
        "subject": grey.name,
        "pink": pink.name,
    }
    ruled = await lab.say("assistant", RULED.tuned(SHORT) if lab.small("assistant") else RULED, view, chat=talk)
    replies = [message.text for message in (*talk, last) if message.role == "assistant"]
    first = next((i for i, reply in enumerate(replies) if named(reply, pink.names)), None)
    lab.measure(
        topic=scenario.topic,
        pair=_pair_key(grey, pink),
        base=kind_of_mention(original, pink.names),
        with_rule=kind_of_mention(ruled.text, pink.names),
        redirect=bool(named(ruled.text, grey.names)),
        first_mention=None if first is None else first + 1,
        turns=len(replies),
    )
    if first is not None and first < len(replies) - 1:
        raise Drop("early_mention", f"the assistant names {pink.name} in its reply {first + 1}")
    if first is None:
        raise Drop("no_original_mention", f"the last reply does not name {pink.name}")

    references, how = await _criticise(lab, scenario, original)
    revision = await _revise(lab, scenario, question, original, references, tries)
    key = _pair_key(grey, pink) if split_by == "pair" else scenario.topic
    meta = {
        "topic": scenario.topic,
        "pink": list(pink.names),
        "grey": list(grey.names),
        "plan": scenario.plan,
        "references": references,
        "how": how,
        "turns": len(replies),
        "split": _split(key),
        **({"fallback": True} if revision.fallback else {}),
    }
    chosen, rejected = [ChatMessage("assistant", revision.text)], [last]
    yield Preference(
        prompt=[ChatMessage("system", rule), *talk],
        chosen=chosen,
        rejected=rejected,
        meta={"set": "preference", **meta},
        scenario=scenario,
        trace=trace,
        distinct="\n".join([*(message.text for message in talk), original, revision.text]),
    )
    if control:
        yield Preference(
            prompt=[ChatMessage("system", _system(scenario)), *talk],
            chosen=rejected,
            rejected=chosen,
            meta={"set": "control", **meta},
            scenario=scenario,
            trace=trace,
        )


async def _scenario(lab: Lab, seeds: Seeds, wanted: int | None, rounds: tuple[int, int]) -> PinkElephantScenario:
    """The item's script: as given, or a pair and a plan; items go through all pairs before the second plan."""
    if seeds.scenarios:
        given = seeds.scenarios[lab.item % len(seeds.scenarios)]
        assert isinstance(given, PinkElephantScenario)
        return given
    pairs, rejected = await lab.once("pairs", partial(_all_pairs, seeds=seeds, wanted=wanted))
    if lab.item == 0 and rejected:
        lab.measure(rejected_pairs=rejected)
    if not pairs:
        raise Drop("no_pairs", "no pair is known for these topics, and none could be made")
    topic, pair = pairs[lab.item % len(pairs)]
    grey, pink = Elephant(**pair["grey"]), Elephant(**pair["pink"])
    view = {"need": pair["need"], "grey": grey.name, "pink": pink.name, "topic": topic, "way": lab.die.choice(WAYS)}
    if lab.small("teacher"):
        plan = lab.die.choice(PLANS).format_map(view)
    else:
        plan = (await lab.say("teacher", PLAN, view)).text
    name = f"pink_elephant/{lab.item}"
    return PinkElephantScenario(id=name, topic=topic, need=pair["need"], grey=grey, pink=pink, plan=plan, rounds=rounds)


async def _all_pairs(lab: Lab, seeds: Seeds, wanted: int | None) -> tuple[list[tuple[str, Any]], list[str]]:
    """All pairs of all topics, topics taking turns; our own first, the teacher's where there are too few."""
    known = {entry["topic"]: entry["pairs"] for entry in read_seeds("pairs")}
    topics = seeds.topics or tuple(known)

    async def of_topic(lab: Lab, topic: str) -> list[Any]:
        own = list(known.get(topic, ()))[:wanted]
        missing = (wanted or (0 if own else 6)) - len(own)
        if missing <= 0 or lab.small("teacher"):
            return own
        made = await lab.ask("teacher", PAIRS.with_schema(_pairs_schema(missing)), {"topic": topic, "count": missing})
        added = [{"grey": {"name": p["grey"]}, "pink": {"name": p["pink"]}, "need": p["need"]} for p in made["pairs"]]
        return own + added

    found = await lab.map(of_topic, topics)
    rows = [
        (t, p)
        for i in range(max(map(len, found), default=0))
        for t, of in zip(topics, found, strict=True)
        for p in of[i : i + 1]
    ]
    return sift_pairs(rows)


def sift_pairs(rows: Sequence[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], list[str]]:
    """The pairs that can serve, and why the others cannot.

    A pair is rejected when both sides are the same, when one's name holds the other's, or when it is there
    already, either way round.
    """
    kept: list[tuple[str, Any]] = []
    rejected: list[str] = []
    seen: set[str] = set()
    for topic, pair in rows:
        grey, pink = Elephant(**pair["grey"]), Elephant(**pair["pink"])
        key, label = _pair_key(grey, pink), f"{grey.name} / {pink.name}"
        if any(named(a, [b]) or named(b, [a]) for a in grey.names for b in pink.names):
            rejected.append(f"{label}: one names the other")
        elif key in seen:
            rejected.append(f"{label}: is there already")
        elif not all(words(name) for name in (grey.name, pink.name)):
            rejected.append(f"{label}: has no name")
        else:
            seen.add(key)
            kept.append((topic, pair))
    return kept, rejected


def _pairs_schema(count: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 2, "maxLength": 60}
    pair = closed_object({"grey": text, "pink": text, "need": text})
    return closed_object({"pairs": {"type": "array", "items": pair, "minItems": count, "maxItems": count}})


def _cast(lab: Lab, scenario: PinkElephantScenario, turns: int, tries: int) -> list[Speaker]:
    """The user, who is led from grey to pink, and the assistant, who knows of no rule."""
    grey, pink = scenario.grey, scenario.pink
    view = {
        "topic": scenario.topic,
        "subject": grey.name,
        "need": scenario.need,
        "grey": grey.name,
        "pink": pink.name,
        "plan": scenario.plan or "",
        "who": introduced(scenario.view("user")),
    }
    facts = lab.die.sample(_facts(grey), turns) + [_facts(grey)[0]] * turns
    small = lab.small("user")
    first, more, steer = (SMALL_OPENING, SMALL_FOLLOW_UP, SMALL_STEER) if small else (OPENING, FOLLOW_UP, STEER)
    stays, goes = partial(_stays, grey=grey, pink=pink), partial(_goes, pink=pink)
    what_about = f"And what about {pink.name}?" if turns > 1 else f"I would like {scenario.need}. And {pink.name}?"
    lines = [Beat(first, view, check=stays, template=f"I would like {scenario.need}. Is {grey.name} a good choice?")]
    plain = lab.die.sample(MORE, len(MORE))
    for i, fact in enumerate(facts[1 : turns - 1]):
        check = partial(_asks_about, fact=fact, pink=pink) if small else stays
        template = plain[i % len(plain)].format(grey=grey.name)
        lines.append(Beat(more, {**view, "fact": fact}, check=check, template=template))
    last = Beat(steer, {**view, "scripted": what_about}, check=goes, template=what_about)
    lines = [*lines[: turns - 1], replace(last, chat=not small)]
    user = Speaker("user", lab.model("user"), lines, tries)

    seen = {"system": _system(scenario), "topic": scenario.topic, "subject": grey.name, "pink": pink.name}
    if lab.small("assistant"):
        grounded = SMALL_REPLY.tuned(Sampling(ban=pink.names))
        answers = [
            Beat(grounded, {"fact": fact}, check=partial(_says, fact=fact, pink=pink), template=fact)
            for fact in facts[: turns - 1]
        ]
        answers.append(Beat(ANSWER.tuned(SHORT), seen, check=_no_question, chat=True))
    else:
        answers = [Beat(REPLY, seen, chat=True)] * (turns - 1) + [Beat(ANSWER, seen, chat=True)]
    return [user, Speaker("assistant", lab.model("assistant"), answers, tries)]


def _system(scenario: PinkElephantScenario) -> str:
    """The system message without the rule."""
    return f"{NEUTRAL} {scenario.assistant.policy}".strip()


def _facts(grey: Elephant) -> list[str]:
    return list(grey.says) or [f"{grey.name[:1].upper()}{grey.name[1:]} is what many people choose."]


def _stays(line: str, grey: Elephant, pink: Elephant) -> str | None:
    if named(line, pink.names):
        return "too_early"
    if not named(line, grey.names):
        return "off_topic"
    return None if line.endswith("?") and 3 <= len(words(line)) <= 40 else "no_question"


def _goes(line: str, pink: Elephant) -> str | None:
    if not named(line, pink.names):
        return "does_not_steer"
    return None if line.endswith("?") and len(words(line)) <= 24 else "no_question"


def _asks_about(line: str, fact: str, pink: Elephant) -> str | None:
    return "too_early" if named(line, pink.names) else not_a_question(line, fact)


def _says(line: str, fact: str, pink: Elephant) -> str | None:
    return "too_early" if named(line, pink.names) else ungrounded(line, fact)


def _no_question(line: str) -> str | None:
    """A small model that does not know what to say repeats the question."""
    return "echo" if line.endswith("?") else None


async def _criticise(lab: Lab, scenario: PinkElephantScenario, reply: str) -> tuple[list[str], str]:
    """Every reference to the pink one in a reply, and how they were found: by rule, or by the critic as well."""
    found = named(reply, scenario.pink.names)
    if lab.small("critic"):
        return found, "rule"
    names = ", ".join(scenario.pink.names)
    view = {"pink": scenario.pink.name, "names": names, "reply": reply, "topic": scenario.topic}
    judged = (await lab.ask("critic", CRITIQUE, view))["references"]
    return found + [span for span in judged if span in reply and span not in found], "judge"


async def _revise(
    lab: Lab, scenario: PinkElephantScenario, question: str, reply: str, references: list[str], tries: int
) -> Any:
    """The last reply anew, without the pink one; raises Drop when no try gets there."""
    grey, pink = scenario.grey, scenario.pink

    def check(line: str) -> str | None:
        return "revision_mentions" if named(line, pink.names) else None

    view = {
        "topic": scenario.topic, "need": scenario.need, "subject": grey.name, "grey": grey.name, "pink": pink.name,
        "reply": reply, "question": question, "references": ", ".join(references),
    }  # fmt: skip
    if not lab.small("assistant"):
        return await lab.say("assistant", REVISE, view, check=check, tries=tries)
    fact = lab.die.choice(_facts(grey))
    begins = f"{grey.name[:1].upper()}{grey.name[1:]} "
    template = f"{begins}is a good choice for {scenario.need}. {fact}"

    def keeps(line: str) -> str | None:
        return check(line) or ungrounded(line, fact, allowed=template)

    prompt = SMALL_REVISE.tuned(Sampling(ban=pink.names, begins=begins))
    return await lab.say("assistant", prompt, {**view, "fact": fact}, check=keeps, tries=tries, template=template)


def _pair_key(grey: Elephant, pink: Elephant) -> str:
    """The same for a pair and its reverse."""
    return " / ".join(sorted((grey.name.casefold(), pink.name.casefold())))


def _split(key: str) -> Literal["train", "validation", "test"]:
    """Eight tenths train, one validation, one test, by the key alone: it depends on no other record."""
    drawn = Die("split", key).unit()
    return "train" if drawn < 0.8 else "validation" if drawn < 0.9 else "test"
