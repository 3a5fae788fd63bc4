"""Grounding: does a line keep to one true statement? Shared content words, no number or name it lacks.

A floor, not a proof: a sentence may use a statement's words to say something else. It is what can be known
without a judge, and it is what small models fail first.
"""

from simlab.text import content_words, first_content_word, names, numbers, sentences, stem, words


def ungrounded(line: str, statement: str, *, allowed: str = "", share: float = 0.7) -> str | None:
    """The fault of an answer to be grounded in a statement; `allowed` is what else it may take words from.

    `share` is the part of the statement's content words that the line must hold.
    """
    known = f"{statement} {allowed}"
    if numbers(line) - numbers(known):
        return "novel_number"
    if names(line) - set(map(stem, words(known))):
        return "novel_name"
    wanted = content_words(statement)
    if wanted and len(wanted & content_words(line)) / len(wanted) < share:
        return "ungrounded"
    if (subject := first_content_word(statement)) and subject not in content_words(line):
        return "loses_subject"
    if len(words(line)) > 3 * len(words(statement)) + 12 or len(sentences(line)) > 3:
        return "rambling"
    return None


def not_a_question(line: str, statement: str, *, least: int = 2, novel: int = 1) -> str | None:
    """The fault of a question that a statement should answer: its shape, its grounding, whether it gives it away.

    It must share `least` content words with the statement and bring in at most `novel` of its own.
    """
    count = len(words(line))
    if not line.endswith("?") or len(sentences(line)) > 2:
        return "no_question"
    if not 3 <= count <= 24:
        return "odd_length"
    if numbers(line) - numbers(statement):
        return "novel_number"
    if names(line) - set(map(stem, words(statement))):
        return "novel_name"
    wanted = content_words(statement)
    shared = wanted & content_words(line)
    if len(shared) < min(least, len(wanted)) or len(content_words(line) - wanted) > novel:
        return "off_topic"
    if len(wanted) > 3 and len(shared) / len(wanted) > 0.9:
        return "gives_it_away"
    return None
