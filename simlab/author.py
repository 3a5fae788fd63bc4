"""Authoring: scenarios written from topics by the teacher, as files that a person reads and `run` plays."""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from simlab.api import Api, ApiSource, Operation
from simlab.controls import ControlTable, breach, outcome_of
from simlab.coverage import Coverage
from simlab.die import Die
from simlab.draft import TRIES, Aim, sample
from simlab.files import read_seeds, writing
from simlab.lab import Lab, Seeds
from simlab.model import Sampling
from simlab.plan import KINDS, MORE_KINDS, QUOTA, Rejected, as_scenario, plan_of
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
    ToolScenario,
    User,
    json_schema,
    scenario_from,
    scenario_json,
)
from simlab.schema import closed_object, to_ordered_json
from simlab.stored import Reader
from simlab.text import tidy, words
from simlab.user import opening_line

ROUND = 64  # scenarios after which coverage is looked at again
IDLE_ROUNDS = 3  # rounds in a row that reach nothing new, after which no more are begun
AIMED_TRIES = 20  # drafts of one kind about one operation
MOST_FAILURES = 3  # items aimed at an operation in vain, after which others go first
CONTROLLED = 4  # drafts of an item that are given up for their controls, one after the other
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


@dataclass
class Written:
    """What came of writing tool scenarios: how many files, what was rejected and why, and what the controls passed."""

    written: int = 0
    kept: int = 0  # sound, but a file of that name was there, and is left as it is
    others: int = 0  # such files that hold something else: edited, or of another seed or document
    rejected: Counter[str] = field(default_factory=Counter)
    vain: Counter[str] = field(default_factory=Counter)  # operations that were aimed at and no plan was found for
    scenarios: list[ToolScenario] = field(default_factory=list)
    table: ControlTable = field(default_factory=ControlTable)
    coverage: Coverage | None = None


async def write_tool_scenarios(
    source: ApiSource,
    document: Path,
    folder: Path,
    n: int,
    seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    until: float | None = None,
    overlay: Path | None = None,
    progress: Callable[[int, float | None], None] = lambda made, percent: None,
) -> Written:
    """Write up to n scenarios about an API, one YAML file each, whose labels were executed and hold their controls.

    `until` is a coverage in percent: rounds of 64 are then aimed at what the rounds before did not reach, and end when
    it is met, or when a round reaches nothing new. The document is named by its path relative to the scenario files.
    """
    api, part = source.compiled(), _part(source, document, overlay, folder)
    made, schema = Written(coverage=Coverage(api, faults="recover" in kinds)), _schema_beside(folder)
    assert made.coverage is not None
    turns = [kind for kind in (*QUOTA, *MORE_KINDS) if kind in kinds]
    idle = 0
    for start in range(0, n, ROUND):
        before, aims = len(made.coverage.reached), made.coverage.missing() if until is not None else []
        aims = [aim for aim in aims if made.vain[aim.operation] < MOST_FAILURES] or aims
        for item in range(start, min(n, start + ROUND)):
            about = aims[(item - start) % len(aims)] if aims else None
            kind, die = turns[item % len(turns)], Die("synth", seed, api.title, item)
            for again in range(CONTROLLED):
                die = die.split(again) if again else die
                scenario = _tool_scenario(api, part, folder.name, kind, item, die, about, turns, made)
                if scenario is None:
                    break
                outcome = await outcome_of(api, scenario)
                if not (wrong := breach(scenario, outcome)):
                    break
                made.rejected[f"control:{wrong}"] += 1
                scenario = None
            if scenario is None:
                continue
            made.table.add(scenario.kind, outcome)
            made.coverage.add(scenario)
            made.scenarios.append(scenario)
            name = f"{scenario.id.rpartition('/')[2]}.yaml"
            text = scenario_yaml(scenario_json(scenario), schema)
            fresh = _written(folder / name, text)
            made.written += fresh
            made.kept += 1 - fresh
            made.others += not fresh and (folder / name).read_bytes() != text.encode()
            progress(item + 1, made.coverage.percent if until is not None else None)
        if until is not None:
            idle = idle + 1 if len(made.coverage.reached) == before else 0
            if made.coverage.percent >= until or idle >= IDLE_ROUNDS:
                break
    if scripts := [script_of(scenario) for scenario in made.scenarios]:
        with writing(folder / "autode.jsonl") as out:
            out.write("".join(f"{to_ordered_json(script)}\n" for script in scripts).encode())
    with writing(folder / "controls.json") as out:
        out.write((json.dumps({"controls": made.table.as_json()}, indent=2) + "\n").encode())
    return made


def script_of(scenario: ToolScenario) -> dict[str, Any]:
    """The user script of a scenario in the six fields of AutoDE (Mu et al., 2024): who, why, what for, which values.

    `Parameters` are the values that the user knows, by what people call them; `FirstQuery` is the plain opening line.
    """
    persona = scenario.user.persona
    slots = plan_of(scenario).known
    return {
        "id": scenario.id,
        "Character": persona.name if persona else "",
        "Background": persona.background if persona else "",
        "Purpose": scenario.purpose,
        "API": [call.op for call in scenario.label.calls] or list(scenario.label.forbidden),
        "Parameters": {slot.label: slot.value for slot in slots},
        "FirstQuery": opening_line(scenario.purpose, [slot for slot in slots if slot.reveal == "opening"]),
    }


def _part(source: ApiSource, document: Path, overlay: Path | None, folder: Path) -> ApiPart:
    """How the scenario files of a folder name their document."""
    beside = os.path.relpath(overlay, folder) if overlay else None
    return ApiPart(document=os.path.relpath(document, folder), sha256=source.sha256, overlay=beside)


def _tool_scenario(
    api: Api,
    part: ApiPart,
    prefix: str,
    kind: str,
    item: int,
    die: Die,
    about: Aim | None,
    turns: Sequence[str],
    made: Written,
) -> ToolScenario | None:
    """The scenario of an item; aimed at an operation, of the first kind in which there is a plan about it."""
    for each in [kind] if about is None else _kinds_about(api.operations[about.operation], (kind, *turns)):
        try:
            plan, reasons = sample(api, each, die, about=about, tries=TRIES if about is None else AIMED_TRIES)
        except Rejected as none:
            made.rejected += none.reasons or Counter([none.reason])
            continue
        made.rejected += reasons
        persona = Persona(name=die.choice(NAMES), style=die.choice(STYLES), patience=8)
        if api.inferred:
            persona = persona.model_copy(update={"background": die.choice(BACKGROUNDS)})
        name = f"{prefix}/{each}-{item:02d}"
        return as_scenario(plan, part, name, title=f"{each}: {plan.purpose}", user=User(persona=persona))
    if about is not None:
        made.vain[about.operation] += 1
    return None


def _kinds_about(operation: Operation, kinds: Sequence[str]) -> list[str]:
    """The kinds, each once, in which a plan may be about an operation."""
    fitting = ("ask",) if not operation.writes else tuple(kind for kind in kinds if kind not in ("ask", "abstain"))
    return [kind for kind in dict.fromkeys(kinds) if kind in fitting]
