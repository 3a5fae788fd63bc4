"""Text: words, names and numbers, and whether a thing is mentioned. No model, no dictionary, no locale."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

STOPWORDS = frozenset(
    """
    a about above after again all also although always am an and another any are as at away be because become
    been before being below between both but by came can come could did do does doing down during each either
    else even ever every few for from further get give go had has have having he her here hers him his how
    however i if in into is it its itself just kind know let like long made make makes many may me mean might
    more most much must my need never no nor not now of off often on once one only or other our out over own
    part please quite rather really said same say see she should since so some something sort still such take
    tell than that the their them then there these they thing things think this those though through to together
    too under until up upon us use used very want was way we well were what when where whether which while who
    whose why will with within without would yes yet you your
    """.split()
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*", re.UNICODE)
_ASCII_WORD = re.compile(r"[A-Za-z]++(?:['-][A-Za-z]++)*+|[0-9]++(?:[.,][0-9]++)*+")  # the same, at half the time
_PART = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*", re.UNICODE)
_SENTENCE = re.compile(  # begins with the space, which is quickly found
    r" (?=[\"'(\[]?[A-Z0-9])(?:(?<=[.!?] )|(?<=[.!?][\"')\]] )|(?<=[.!?][\"')\]]{2} ))"
)
_LABEL = re.compile(r"(?:user|assistant|question|answer|q|a)\s*:\s*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ABBREVIATED = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e|etc|No)|\b[A-Z])\.$")


def words(text: str) -> list[str]:
    """The words and numbers of a text, case kept."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without its commonest English endings; crude, and the same for both sides of a comparison."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    for ending, keep in (("ies", "y"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + keep
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def content_words(text: str) -> set[str]:
    """The stems of the words that carry the meaning: no stop words, nothing under three letters."""
    return set(_content(text))


def _content(text: str) -> Iterator[str]:
    return (stem(w) for w in words(text) if len(w) > 2 and w.lower() not in STOPWORDS and not w[0].isdigit())


def first_content_word(text: str) -> str | None:
    """The stem of the first word that carries meaning, which in a plain statement belongs to its subject."""
    return next(iter(_content(text)), None)


def sentences(text: str) -> list[str]:
    """The sentences of a text, trimmed."""
    parts: list[str] = []
    for part in _SENTENCE.split(" ".join(text.split())):
        if parts and _ABBREVIATED.search(parts[-1]):
            parts[-1] += " " + part
        elif part:
            parts.append(part)
    return parts


def numbers(text: str) -> set[str]:
    """The numbers of a text as written, thousands separators removed."""
    return {n.replace(",", "").rstrip(".") for n in _NUMBER.findall(text)}


def names(text: str) -> set[str]:
    """Stems of capitalised words that do not merely begin a sentence."""
    found: set[str] = set()
    for sentence in sentences(text):
        for word in words(sentence)[1:]:
            if word[0].isupper() and word not in ("I", "I'm", "I'd", "I'll", "I've", "OK"):
                found.add(stem(word))
    return found


def mentions(text: str, aliases: Iterable[str], *, fuzzy: float = 0.9) -> list[str]:
    """The spans of a text that name one of the aliases.

    Case is folded, possessives and plurals count, words (and the parts of hyphenated ones) must match whole, and
    an alias of six letters or more may be misspelt up to the given similarity. A description that names nothing is
    not found: this is a floor.
    """
    found: list[tuple[int, int]] = []
    tokens = [(m.group(), m.start(), m.end()) for m in _PART.finditer(text)]
    folded = [_fold(t[0]) for t in tokens]
    for alias in aliases:
        wanted = [_fold(w) for w in _PART.findall(alias)]
        if not wanted:
            continue
        for i in range(len(folded) - len(wanted) + 1):
            if all(_same(a, b, fuzzy) for a, b in zip(folded[i : i + len(wanted)], wanted, strict=True)):
                found.append((tokens[i][1], tokens[i + len(wanted) - 1][2]))
    return [text[a:b] for a, b in sorted(set(found))]


def _fold(word: str) -> str:
    return word.casefold().replace("’", "'").removesuffix("'s").removesuffix("'")


def _same(a: str, b: str, fuzzy: float) -> bool:
    for one, many in ((a, b), (b, a)):
        if many in (one, f"{one}s", f"{one}es") or (one.endswith("y") and many == f"{one[:-1]}ies"):
            return True
    return len(b) >= 6 and a[0] == b[0] and Levenshtein.normalized_similarity(a, b, score_cutoff=fuzzy) >= fuzzy


def in_words(name: str) -> str:
    """An identifier as people say it: `dueOn` as `due on`, `parcel_id` as `parcel id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace(".", " ").lower()


def tidy(text: str) -> str:
    """A model's line made presentable: white space folded, wrapping quotes and speaker labels taken off."""
    text = " ".join(text.split())
    if (label := _LABEL.match(text)) is not None:
        text = text[label.end() :]
    if len(text) > 1 and text[0] in "\"“'" and text[-1] in "\"”'":
        text = text[1:-1].strip()
    return text
