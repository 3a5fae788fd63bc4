"""Prices per model, so that a budget in dollars means something; unknown ones are shown as `?`."""


def price_of(model: str) -> tuple[float, float] | None:
    """US dollars per million prompt and completion tokens, or None."""
    return (0.0, 0.0) if model.startswith(("scripted", "embedded")) else None
