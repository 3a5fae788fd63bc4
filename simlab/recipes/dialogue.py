"""Multi-turn dialogues about topics: UltraChat's World sector.

Ding et al., *Enhancing Chat Language Models by Scaling High-quality Instructional Conversations*, 2023
(arXiv 2305.14233): topic -> subtopics -> questions; a user simulator and an assistant, separate models, go on
from each question for 3 to 7 rounds; users that answer instead of asking are sifted out.

What is ours: a small model, which left alone is fluent and false, is given one true statement a round; both its
question and its answer must keep to it (`grounded`), and a template serves where no try does.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from simlab.checks.grounding import not_a_question, ungrounded
from simlab.checks.role_drift import drifted, unthanked
from simlab.errors import Drop
from simlab.files import read_seeds
from simlab.lab import Lab, Seeds
from simlab.message import ChatMessage
from simlab.model import Sampling
from simlab.prompt import Prompt
from simlab.record import Dialogue
from simlab.roles import Assistant, Beat, Speaker, UserSimulator
from simlab.scenario import DialogueScenario, Statement, introduced
from simlab.schema import closed_object
from simlab.text import tidy
from simlab.trace import Trace

PLAYS = ("dialogue",)
SUBTOPICS = Prompt(
    step="subtopics",
    system="You plan a collection of conversations. Answer with JSON only.",
    ask="Name {count} different aspects of {topic} that people ask about, each in two to five words.",
    sampling=Sampling(temperature=1.0, max_tokens=400),
)
QUESTION = Prompt(
    step="question",
    system="You write the first line of a conversation: one question, in the words of an interested person.",
    ask="The conversation is about {topic}, in particular {subtopic}. Ask about its {angle}. Nothing but the question.",
    sampling=Sampling(temperature=1.0, max_tokens=60),
)
UTTERANCE = Prompt(
    step="utterance",
    system=(
        "{who} You talk with an assistant about {topic}. {purpose} You only ask; you never answer or explain."
        " React to what was said with one short question that goes further. Never thank."
    ),
    sampling=Sampling(temperature=1.0, max_tokens=60),
)
ANSWER = Prompt(
    step="answer",
    system="You are a helpful assistant. {policy}",
    sampling=Sampling(temperature=0.7, max_tokens=400),
)
GROUNDED_QUESTION = Prompt(
    step="question",
    system="Turn each fact into one short question.",
    examples=(
        ("Cork is cut from the bark of an oak.", "Where is cork cut from?"),
        ("Snow keeps winter wheat warm because it traps air.", "Why does snow keep winter wheat warm?"),
        ("Sails turn wind into forward motion.", "How do sails use the wind?"),
    ),
    ask="{says}",
    sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=32, stop=("\n",)),
)
GROUNDED_FOLLOW_UP = Prompt(
    step="follow_up",
    system="Turn each fact into one short follow-up question.",
    examples=(
        ("Cork is cut from the bark of an oak.", "And where is cork cut from?"),
        ("Snow keeps winter wheat warm because it traps air.", "Why does snow keep winter wheat warm?"),
        ("Sails turn wind into forward motion.", "Then how do sails use the wind?"),
    ),
    ask="{says}",
    sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=32, stop=("\n",)),
)
GROUNDED_ANSWER = Prompt(
    step="answer",
    system="Answer each question with the given fact. Keep every word of the fact.",
    examples=(
        (
            "Question: Where is cork cut from?\nFact: Cork is cut from the bark of an oak.",
            "Cork is cut from the bark of an oak.",
        ),
        (
            "Question: Why does snow keep winter wheat warm?\nFact: Snow keeps winter wheat warm because it traps air.",
            "Snow keeps winter wheat warm because it traps air.",
        ),
        (
            "Question: How do sails use the wind?\nFact: Sails turn wind into forward motion.",
            "Sails turn wind into forward motion.",
        ),
    ),
    ask="Question: {heard}\nFact: {says}",
    sampling=Sampling(temperature=0.3, top_p=0.9, max_tokens=64, stop=("\n",)),
)
ANGLES = ("causes", "history", "everyday side", "limits", "best-known example", "numbers", "common mistakes", "purpose")


async def dialogue(
    lab: Lab,
    seeds: Seeds,
    *,
    rounds: Annotated[tuple[int, int], "how often the user speaks, at least and at most"] = (3, 7),
    subtopics: Annotated[int, "how many a topic is split into; the items share them out"] = 8,
    grounded: Annotated[bool | None, "keep to collected statements; by default where the assistant is small"] = None,
    tries: Annotated[int, "how often a line is asked for until it passes its check"] = 3,
) -> AsyncIterator[Dialogue]:
    """Yield one dialogue, from a scenario, an opening question or a topic; UltraChat (arXiv 2305.14233)."""
    scenario = await _scenario(lab, seeds, rounds, subtopics, grounded)
    if scenario.statements and grounded is not False and (grounded or lab.small("assistant")):
        trace, statements = await _grounded(lab, scenario, tries)
    else:
        trace, statements = await _free(lab, scenario, tries), []
    user, policy = scenario.view("user"), scenario.assistant.policy
    yield Dialogue(
        messages=([ChatMessage("system", policy)] if policy else []) + trace.view("assistant"),
        meta={
            "topic": scenario.topic,
            **({"subtopic": scenario.subtopic} if scenario.subtopic else {}),
            **({"grounded": statements} if statements else {}),
            **({"persona": user["user"]["persona"]["name"]} if user.get("user", {}).get("persona") else {}),
            "rounds": len(trace.events) // 2,
        },
        scenario=scenario,
        trace=trace,
        distinct="\n".join(message.text for message in trace.messages),
    )


async def _scenario(
    lab: Lab, seeds: Seeds, rounds: tuple[int, int], subtopics: int, grounded: bool | None
) -> DialogueScenario:
    """The item's script: as given, or around a given question, or from a topic of the tree."""
    if seeds.scenarios:
        given = seeds.scenarios[lab.item % len(seeds.scenarios)]
        assert isinstance(given, DialogueScenario)
        return given
    known = {entry["topic"]: entry["statements"] for entry in read_seeds("topics")}
    topics = seeds.topics or tuple(known)
    topic = topics[lab.item % len(topics)]
    if seeds.questions:
        question = seeds.questions[lab.item]
        return DialogueScenario(id=f"dialogue/{lab.item}", topic=question, question=question, rounds=rounds)
    if grounded is not False and (grounded or lab.small("assistant")):
        if topic not in known:
            raise Drop("no_statements", f"nothing true is known here about {topic!r}; a small model cannot go without")
        statements = tuple(Statement(**entry) for entry in known.get(topic, ()))
        return DialogueScenario(id=f"dialogue/{lab.item}", topic=topic, statements=statements, rounds=rounds)
    view = {"topic": topic, "count": subtopics}
    tree = await lab.once(f"subtopics:{topic}", lambda shared: _subtopics(shared, view))
    subtopic = tree[lab.item // len(topics) % len(tree)]
    about = {"topic": topic, "subtopic": subtopic, "angle": lab.die.choice(ANGLES), "subject": subtopic}
    opening = await lab.say("teacher", QUESTION, about)
    return DialogueScenario(
        id=f"dialogue/{lab.item}", topic=topic, subtopic=subtopic, question=opening.text, rounds=rounds
    )


async def _subtopics(lab: Lab, view: dict[str, object]) -> list[str]:
    count = view["count"]
    text = {"type": "string", "minLength": 2, "maxLength": 60}
    names = {"type": "array", "items": text, "minItems": count, "maxItems": count}
    schema = closed_object({"subtopics": names})
    made = await lab.ask("teacher", SUBTOPICS.with_schema(schema), view)
    return list(made["subtopics"])


async def _grounded(lab: Lab, scenario: DialogueScenario, tries: int) -> tuple[Trace, list[str]]:
    """One statement a round: the user asks for it, the assistant says it."""
    low, high = scenario.rounds
    count = min(lab.die.between(low, high), len(scenario.statements))
    facts = lab.die.sample(scenario.statements, count)
    asked = [
        Beat(
            GROUNDED_FOLLOW_UP if i else GROUNDED_QUESTION,
            {"says": fact.says},
            check=partial(not_a_question, statement=fact.says),
            template=fact.asks or None,
        )
        for i, fact in enumerate(facts)
    ]
    answered = [
        Beat(
            GROUNDED_ANSWER,
            {"says": fact.says},
            check=partial(ungrounded, statement=fact.says, allowed=fact.asks),
            template=fact.says,
            notes={"grounded": fact.says},
        )
        for fact in facts
    ]
    user = Speaker("user", lab.model("user"), asked, tries)
    assistant = Speaker("assistant", lab.model("assistant"), answered, tries)
    trace = await lab.simulate([user, assistant], turns=scenario.ends.turns)
    return trace, [fact.says for fact in facts]


async def _free(lab: Lab, scenario: DialogueScenario, tries: int) -> Trace:
    """The user goes on from the opening question; the assistant answers as it can."""
    seen = scenario.view("user")
    purpose = seen.get("user", {}).get("purpose", "")
    about = {"topic": scenario.topic, "subject": scenario.subtopic or scenario.topic}
    opening = scenario.question
    if opening is None:
        view = {**about, "subtopic": purpose or scenario.topic, "angle": lab.die.choice(ANGLES)}
        opening = (await lab.say("user", QUESTION, view)).text  # who alone knows the purpose
    user = UserSimulator(
        lab.model("user"),
        UTTERANCE,
        {**about, "purpose": f"You want to {purpose}." if purpose else "", "who": introduced(seen)},
        rounds=lab.die.between(*scenario.rounds),
        opening=opening,
        check=drifted,
        clean=lambda line: unthanked(tidy(line)),
        tries=tries,
    )
    policy = scenario.assistant.policy
    assistant = Assistant(lab.model("assistant"), ANSWER, {**about, "policy": policy})
    return await lab.simulate([user, assistant], turns=scenario.ends.turns)
