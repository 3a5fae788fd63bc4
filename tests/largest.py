"""The largest hostile texts. Apart from the others, whose own size would count in the process that parses one."""

# What the largest texts that may be read at all are made of, over and over; each repetition may have a number.
UNITS = ("- []\n", "- &a{} 1\n", "- {{a: 1}}\n", '{{"a": [[]', ",{{}}", ',""')


def largest(unit: str) -> str:
    """A text of 31 MB."""
    return ('{"a": [0' if unit[0] == "," else "") + "".join(unit.format(i) for i in range(31_000_000 // len(unit)))
