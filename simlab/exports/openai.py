"""`openai`: supervised chat JSONL, `{"messages": [...]}`.

OpenAI's fine-tuning guide; Azure, Together and Fireworks read the same.
"""

from typing import Any

from simlab.stored import StoredRecord, openai_message

FITS = ("dialogue", "instruction")


def openai(record: StoredRecord) -> dict[str, Any]:
    """One line: messages in the chat-completions dialect, where arguments of calls are JSON strings."""
    if record.type == "instruction":
        task = "\n\n".join(filter(None, (record.body["instruction"], record.body["input"])))
        said = [{"role": "user", "content": task}, {"role": "assistant", "content": record.body["output"]}]
        return {"messages": said}
    messages = [openai_message(message) for message in record.trained()]
    if tools := record.tools():
        return {"messages": messages, "tools": tools, "parallel_tool_calls": False}
    return {"messages": messages}
