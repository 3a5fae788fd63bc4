"""`trl`: supervised fine-tuning in TRL's conversational form, `{"messages": [...]}` (TRL, dataset formats)."""

from typing import Any

from simlab.stored import StoredRecord, trl_message

FITS = ("dialogue", "instruction")


def trl(record: StoredRecord) -> dict[str, Any]:
    """One line: messages whose calls carry arguments as objects; an instruction becomes prompt and completion."""
    if record.type == "instruction":
        task = "\n\n".join(filter(None, (record.body["instruction"], record.body["input"])))
        return {
            "prompt": [{"role": "user", "content": task}],
            "completion": [{"role": "assistant", "content": record.body["output"]}],
        }
    names = {call.id: call.name for message in record.chat("messages") for call in message.calls}
    messages = [trl_message(message, names) for message in record.trained()]
    if tools := record.tools():
        return {"messages": messages, "tools": tools}
    return {"messages": messages}
