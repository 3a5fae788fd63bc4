"""Authoring: scenarios written from topics by the teacher, as files that a person reads and `run` plays."""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from simlab.api import read_api
from simlab.die import Die
from simlab.draft import sample
from simlab.files import matching, read_seeds, writing
from simlab.lab import Lab, Seeds
from simlab.model import Sampling
from simlab.plan import QUOTA, Rejected, as_scenario
from simlab.prompt import Prompt
from simlab.record import Script
from simlab.runfile import RunFile
from simlab.scenario import (
    ApiPart,
    AssistantPart,
    DialogueScenario,
    Ends,
    Persona,
    Statement,
    User,
    json_schema,
    scenario_from,
    scenario_json,
)
from simlab.schema import closed_object
from simlab.stored import Reader
from simlab.text import tidy, words

NAMES = """Ada Bela Cleo Dario Edda Farid Greta Hugo Ines Jaro Kaya Leo Mara Nilo Olga Pia Quin Rosa Samir Tara
Udo Vera Wim Xenia Yara Zeno""".split()
STYLES = ("terse", "curious and chatty", "polite, a little formal", "in a hurry", "thoughtful", "playful")
SCRIPT = Prompt(
    step="script",
    system="You write short scripts for conversations between a person and an assistant. Answer with JSON only.",
    ask="Topic: {topic}. The person is called {name} and writes {style}. Give a title of at most eight words, what"
    " brought {name} to the topic (background, one clause), what {name} wants to find out (purpose, one clause"
    " that goes on from 'wants to'), and {count} true statements about the topic, each one sentence.",
    sampling=Sampling(temperature=1.0, max_tokens=700),
)
LINE = Prompt(
    step="purpose",
    system="Say in a few words what someone wants to find out.",
    examples=(("Topic: canoes. Person: a teacher.", "how to choose a canoe for two"),),
    ask="Topic: {topic}. Person: {background}.",
    sampling=Sampling(temperature=0.7, max_tokens=16, stop=("\n", ".")),
)
BACKGROUNDS = (
    "a teacher who prepares a lesson", "someone who has just moved to the coast", "a parent asked by a child",
    "a retired engineer", "a student before an exam", "someone who writes a quiz", "a nurse on a night shift",
    "a traveller with an hour to spare",
)  # fmt: skip


async def scripts(lab: Lab, seeds: Seeds, *, statements: int = 8) -> AsyncIterator[Script]:
    """Yield one dialogue scenario about a topic, its persona and purpose worded by the teacher.

    Where our own seeds know the topic, the statements are theirs (`how: rule`), else the teacher's, unverified
    (`how: judge`); a small teacher only words the purpose, and writes no statements.
    """
    topic = seeds.topics[lab.item % len(seeds.topics)]
    known = {entry["topic"]: entry["statements"] for entry in read_seeds("topics")}.get(topic, [])
    name, style = lab.die.choice(NAMES), lab.die.choice(STYLES)
    view = {"topic": topic, "name": name, "style": style, "count": statements, "subject": topic}
    said = [Statement(**entry) for entry in lab.die.sample(known, statements)]
    if lab.small("teacher"):
        background = lab.die.choice(BACKGROUNDS)
        template = f"the most surprising thing about {topic}"
        purpose = await lab.say(
            "teacher", LINE, {**view, "background": background}, check=_few_words, template=template
        )
        title, wants, how = f"{name} asks about {topic}", f"find out {purpose.text}", "rule"
    else:
        made = await lab.ask("teacher", SCRIPT.with_schema(_schema(statements)), view)
        title, background, wants = tidy(made["title"]), tidy(made["background"]), tidy(made["purpose"])
        how = "rule" if said else "judge"
        said = said or [Statement(says=text) for text in made["statements"]]
    number = lab.item // len(seeds.topics)
    scenario = DialogueScenario(
        id=f"{_slug(topic)}/{_slug(topic)}-{number}",
        title=title,
        topic=topic,
        statements=tuple(said),
        user=User(persona=Persona(name=name, background=background, style=style), purpose=wants),
        assistant=AssistantPart(policy="Answer in two or three sentences and stay on the topic."),
        rounds=(3, min(7, max(3, len(said) or 7))),
        ends=Ends(turns=16),
    )
    yield Script(scenario=scenario, meta={"how": how}, distinct=" ".join([title, background, wants]))


def _few_words(line: str) -> str | None:
    return None if 2 <= len(words(line)) <= 14 and "?" not in line else "odd_length"


def _slug(text: str) -> str:
    return "-".join(word.lower() for word in words(text) if word.isascii()) or "topic"


def _schema(statements: int) -> dict[str, Any]:
    line = {"type": "string", "minLength": 3, "maxLength": 160}
    many = {"type": "array", "items": line, "minItems": statements, "maxItems": statements}
    return closed_object({"title": line, "background": line, "purpose": line, "statements": many})


def write_scenarios(path: Path, folder: Path) -> int:
    """Write the scripts of a run file as one YAML file each, except those that are there; returns how many."""
    file = RunFile.open(path)
    count, schema = 0, _schema_beside(folder)
    try:
        for record in Reader(file).records():
            scenario = scenario_from(record.full()["scenario"])
            name = scenario.id.rpartition("/")[2]
            count += _written(folder / f"{name}.yaml", scenario_yaml(scenario_json(scenario), schema))
        return count
    finally:
        file.close()


def _written(path: Path, text: str) -> int:
    """Write a file that is not there yet, and count it; one that is there is left as it is, for it may be edited."""
    if path.exists():
        return 0
    with writing(path) as out:
        out.write(text.encode())
    return 1


def _schema_beside(folder: Path) -> str:
    """The path of the JSON Schema as the files of a folder name it; written there where there is none."""
    if (folder.parent / "scenario.schema.json").exists():
        return "../scenario.schema.json"
    with writing(folder / "scenario.schema.json") as out:
        out.write((json.dumps(json_schema(), indent=2) + "\n").encode())
    return "scenario.schema.json"


def scenario_yaml(scenario: dict[str, object], schema: str) -> str:
    """A scenario as the text of its file, with the schema that editors complete it by; our reader reads it back."""
    order = [
        "id",
        "kind",
        "title",
        "topic",
        "subtopic",
        "question",
        "statements",
        "rounds",
        "user",
        "assistant",
        "ends",
    ]
    ordered = {key: scenario[key] for key in [*order, *scenario] if key in scenario}
    return f"# yaml-language-server: $schema={schema}\n" + yaml.dump(
        ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )


class _Dumper(yaml.SafeDumper):
    """Writes lists indented below their key, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Never indentless."""
        super().increase_indent(flow, False)


def write_tool_scenarios(document: Path, folder: Path, n: int, seed: int) -> tuple[int, Counter[str]]:
    """Write n scenarios about an API, one YAML file each, their labels executed; returns how many, and the rejections.

    The document is named by its path relative to the scenario files. Raises InputError when it cannot be read.
    """
    document = matching(str(document))[0]
    source = read_api(document)
    api, rejected = source.compiled(), Counter[str]()
    part = ApiPart(document=os.path.relpath(document, folder), sha256=source.sha256)
    written, schema = 0, _schema_beside(folder)
    for item in range(n):
        kind = QUOTA[item % len(QUOTA)]
        die = Die("synth", seed, api.title, item)
        try:
            plan, reasons = sample(api, kind, die)
        except Rejected as none:
            rejected[none.reason] += 1
            continue
        rejected += reasons
        persona = Persona(name=die.choice(NAMES), style=die.choice(STYLES), patience=8)
        name = f"{folder.name}/{kind}-{item:02d}"
        title = f"{kind}: {plan.purpose}"
        scenario = as_scenario(plan, part, name, title=title, user=User(persona=persona))
        written += _written(folder / f"{kind}-{item:02d}.yaml", scenario_yaml(scenario_json(scenario), schema))
    return written, rejected
