"""Does every line of a user hold what it must, and nothing before its time? `python benchmarks/wording.py RUN.simlab`.

Reads a run of `tool_dialogue`: the opening must hold the opening values word for word, an answer the values that the
assistant has just asked for; no line may hold a value that is still to be asked for.
"""

import sys

from simlab.facts import holds
from simlab.plan import spoken
from simlab.runfile import RunFile
from simlab.scenario import ToolScenario, scenario_from
from simlab.stored import Reader
from simlab.user import asked, slots_from


def main(path: str) -> None:
    reader = Reader(RunFile.open(path))
    due = said = early = lines = templates = dialogues = 0
    for record in reader.records():
        scenario = scenario_from(reader.text(record.body["scenario"]))
        assert isinstance(scenario, ToolScenario)
        slots = slots_from(scenario.view("user").get("slots", {}))
        told: set[str] = set()
        heard, dialogues = "", dialogues + 1
        for event in reader.traces(record.item)[record.body["trace"]].events:
            if event.sender == "assistant" and "user" in event.heard_by:
                heard = event.text
            if event.sender != "user":
                continue
            lines += 1
            templates += bool(event.message.notes.get("fallback"))
            now = asked(heard, slots) if heard else [slot for slot in slots if slot.reveal == "opening"]
            due += len(now)
            said += sum(spoken(slot.value) in event.text for slot in now)
            told |= {slot.name for slot in now}
            known = " ".join(
                [scenario.purpose, *(f"{slot.label} {spoken(slot.value)}" for slot in slots if slot.name in told)]
            )
            early += sum(
                holds(event.text, slot.value) and not holds(known, slot.value)
                for slot in slots
                if slot.name not in told
            )
    print(f"{dialogues} dialogues, {lines} lines of users")
    print(f"values that a line must hold: {said} of {due} are in it word for word ({said / due:.0%})")
    print(f"values before their time: {early}")
    print(f"lines taken from the template: {templates} ({templates / lines:.0%})")


if __name__ == "__main__":
    main(sys.argv[1])
