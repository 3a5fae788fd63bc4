"""What tokens cost, as far as it is known."""

from functools import cache

from simlab.files import read_yaml, resource

FREE = ("scripted", "embedded")


@cache
def price_of(model_name: str) -> tuple[float, float] | None:
    """US dollars per million prompt and completion tokens of a model such as `openai:gpt-4o-mini`.

    None when the price is not known; a model that runs here costs nothing.
    """
    if model_name.startswith(FREE):
        return 0.0, 0.0
    shelf, _, model = model_name.partition(":")
    # only whole words count as a beginning: `gpt-5.9` is no `gpt-5`
    known = [name for name in _prices() if shelf == "openai" and f"{model}-".startswith(f"{name}-")]
    return _prices()[max(known, key=len)] if known else None


@cache
def _prices() -> dict[str, tuple[float, float]]:
    listed = read_yaml(resource("models", "prices.yaml")).value
    return {row["model"]: (float(row["prompt"]), float(row["completion"])) for row in listed}
