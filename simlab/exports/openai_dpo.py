"""`openai-dpo`: preference JSONL, `{"input", "preferred_output", "non_preferred_output"}`.

OpenAI's guide to direct preference optimization; Together and Fireworks use the same names.
"""

from typing import Any

from simlab.stored import StoredRecord, openai_message

FITS = ("preference",)


def openai_dpo(record: StoredRecord) -> dict[str, Any]:
    """One line: the shared prompt as the input, and two outputs of one assistant message each."""
    return {
        "input": {
            "messages": [openai_message(message) for message in record.chat("prompt")],
            "tools": [],
            "parallel_tool_calls": True,
        },
        "preferred_output": [openai_message(message) for message in record.chat("chosen")],
        "non_preferred_output": [openai_message(message) for message in record.chat("rejected")],
    }
