"""`trl-dpo`: preference pairs for TRL's DPOTrainer, with an explicit prompt (TRL, dataset formats)."""

from typing import Any

from simlab.stored import StoredRecord, trl_message

FITS = ("preference",)


def trl_dpo(record: StoredRecord) -> dict[str, Any]:
    """One line: `{"prompt", "chosen", "rejected"}`, each a list of messages."""
    return {side: [trl_message(m) for m in record.chat(side)] for side in ("prompt", "chosen", "rejected")}
