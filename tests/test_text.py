"""What is mentioned, what is grounded, who sounds like an assistant: all known without a model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.checks.grounding import not_a_question, ungrounded
from simlab.checks.role_drift import drifted, unthanked
from simlab.text import content_words, mentions, names, numbers, sentences, stem, tidy, words

# --- mentions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "alias", "span"),
    [
        ("I like Adidas best.", "Adidas", "Adidas"),
        ("Try ADIDAS!", "Adidas", "ADIDAS"),
        ("Adidas's new shoe", "Adidas", "Adidas's"),
        ("Adidas’s new shoe", "Adidas", "Adidas’s"),
        ("Adidas' new shoe", "Adidas", "Adidas"),
        ("two canoes on the lake", "canoe", "canoes"),
        ("three boxes", "box", "boxes"),
        ("a pair of bunnies", "bunny", "bunnies"),
        ("one bunny", "bunnies", "bunny"),
        ("a single canoe", "canoes", "canoe"),
        ("in New York today", "New York", "New York"),
        ("in new\n  york today", "New York", "new\n  york"),
        ("some running shoe or other", "running shoes", "running shoe"),
        ("I wear Levis.", "Levi's", "Levis"),
        ("a Nike-style shoe", "Nike", "Nike"),
        ("Coca-Cola's recipe", "Coca-Cola", "Coca-Cola's"),
        ("a glass of Coca Cola", "Coca-Cola", "Coca Cola"),
        ("the New-York Times", "New York", "New-York"),
        ("a PS5 or so", "PS 5", "PS5"),
        ("Nike/Adidas", "adidas", "Adidas"),
        ("wearing Birkenstok again", "Birkenstock", "Birkenstok"),
    ],
)
def test_a_name_is_found_in_the_forms_people_write_it_in(text, alias, span):
    assert mentions(text, [alias]) == [span]


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("a party last night", "art"),
        ("the artist", "art"),
        ("a start", "art"),
        ("the ones with three stripes", "Adidas"),
        ("York is old and new", "New York"),
        ("new and York", "New York"),
        ("the cat", "car"),  # too short for a misspelling
        ("Malaga", "Balaga"),  # a misspelling does not begin with another letter
        ("anything", ""),
        ("anything", "?!"),
        ("", "Adidas"),
    ],
)
def test_what_does_not_name_it_is_not_found(text, alias):
    assert mentions(text, [alias], fuzzy=0.8) == []


@pytest.mark.parametrize("text", ["Addidas", "Adidis", "adias", "Adidaas"])
def test_a_name_of_six_letters_may_be_misspelt_by_one_when_less_similarity_is_asked_for(text):
    assert mentions(f"I like {text}.", ["Adidas"], fuzzy=0.8) == [text]
    assert mentions(f"I like {text}.", ["Adidas"], fuzzy=1.0) == []


def test_a_shorter_name_may_not_be_misspelt():
    assert mentions("a canoo", ["canoe"], fuzzy=0.8) == []


def test_all_mentions_are_found_once_and_in_order_of_the_text():
    assert mentions("Porto, then Lisbon, then Porto’s port", ["Lisbon", "Porto", "porto"]) == [
        "Porto",
        "Lisbon",
        "Porto’s",
    ]


name = st.lists(st.sampled_from(["Rye", "Coca-Cola", "bunny", "shoes", "O'Neill", "café", "5", "box"]), min_size=1).map(
    " ".join
)


@settings(max_examples=40, deadline=None)
@given(name, st.sampled_from(["{}", "a {}, please", "({})", "“{}”", "the {}’s best", "say {}\nor not"]))
def test_every_name_is_found_in_a_sentence_that_says_it_however_it_is_cased(name, frame):
    for said in (name, name.upper(), name.lower()):
        text = frame.format(said)
        found = mentions(text, [name])
        assert any(span.startswith(said) for span in found)
        assert all(span in text for span in found)


# --- words ----------------------------------------------------------------------------------------------------


def test_words_keep_their_case_their_hyphens_and_their_apostrophes():
    assert words("Mara's well-known loaf — 1,200 g, isn’t it?") == [
        "Mara's",
        "well-known",
        "loaf",
        "1,200",
        "g",
        "isn’t",
        "it",
    ]


@pytest.mark.parametrize(
    "forms",
    [
        "bake bakes baked baking",
        "run runs running",
        "stop stops stopped stopping",
        "city cities city's",
        "glass glasses",
        "fall falls falling",
        "quick quickly",
        "walk walks walked walking Walk's walk’s",
        "shoe shoes",
        "tree trees",
    ],
)
def test_the_inflections_of_a_word_have_one_stem(forms):
    assert len({stem(form) for form in forms.split()}) == 1


def test_different_words_keep_different_stems():
    forms = "bread yeast oven crust bus see sea sing ring red bed"
    assert len({stem(form) for form in forms.split()}) == len(forms.split())


def test_content_words_are_those_that_carry_the_meaning():
    assert content_words("The 12 wild yeasts are in it, and they made the bread rise.") == {
        "wild",
        "yeast",
        "bread",
        "ris",
    }


def test_numbers_are_compared_without_their_thousands_separators():
    assert numbers("1,000 g at 23.5 degrees, 7. Then A4.") == {"1000", "23.5", "7", "4"}


def test_names_are_capitalised_words_that_do_not_begin_a_sentence():
    assert names("Then Marie met Pierre’s friend. I think I'm in Rome. OK?") == {
        stem(n) for n in ("Marie", "Pierre", "Rome")
    }
    assert names("Bread rises. Yeast lives.") == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rose. It fell! Why? Nobody knows", ["It rose.", "It fell!", "Why?", "Nobody knows"]),
        ("Dr. Smith met Mrs. Jones. They left.", ["Dr. Smith met Mrs. Jones.", "They left."]),
        ("Use flour, e.g. Rye flour.", ["Use flour, e.g. Rye flour."]),
        ("Take vitamin C. Daily.", ["Take vitamin C. Daily."]),  # an initial might follow; they are left together
        ("Pi is 3.14. Yes.", ["Pi is 3.14.", "Yes."]),
        ('She said "Yes." Then she left.', ['She said "Yes."', "Then she left."]),
        ("(It rained.) We went.", ["(It rained.)", "We went."]),
        ("  One.\n\nTwo. ", ["One.", "Two."]),
        ("no capital. after it", ["no capital. after it"]),
        ("", []),
    ],
)
def test_a_text_is_split_at_the_ends_of_its_sentences(text, expected):
    assert sentences(text) == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["It", "rose.", "Dr.", 'he."', "(No!)", "why?", "3.5", "A.", "e.g.", "\n", "’"])).map(
        " ".join
    )
)
def test_no_character_is_lost_between_sentences(text):
    assert " ".join(sentences(text)) == " ".join(text.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  Why \n does it rise? ", "Why does it rise?"),
        ('"Why does it rise?"', "Why does it rise?"),
        ("“Why?”", "Why?"),
        ("User: Why?", "Why?"),
        ("Q: Why?", "Why?"),
        ("Answer me: why?", "Answer me: why?"),
        ('"Yes" or "no"?', '"Yes" or "no"?'),
        ('"', '"'),
        ("", ""),
    ],
)
def test_a_models_line_is_tidied_of_labels_and_wrapping_quotes(line, expected):
    assert tidy(line) == expected


# --- grounding ------------------------------------------------------------------------------------------------

STEAM = "Steam in the oven keeps the crust soft at first, so the loaf can expand for 20 minutes."


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (STEAM, None),
        ("Because steam in the oven keeps the crust soft, and so a loaf can expand.", None),
        ("Steam in the oven keeps the crust soft for 45 minutes so the loaf expands.", "novel_number"),
        ("Steam keeps the crust soft, says Einstein, so the loaf in the oven can expand.", "novel_name"),
        ("Bread is a wonderful thing and people have loved it for ages.", "ungrounded"),
        ("", "ungrounded"),
        (f"{STEAM} It is so. It is good. It is done.", "rambling"),
        (f"{STEAM} " + "and so on " * 30, "rambling"),
    ],
)
def test_an_answer_is_held_to_its_statement(line, fault):
    assert ungrounded(line, STEAM) == fault


def test_what_is_allowed_besides_the_statement_is_not_novel():
    line = "On a Sunday in Rome, steam in the oven keeps the crust soft at first, so the loaf can expand."
    assert ungrounded(line, STEAM) == "novel_name"
    assert ungrounded(line, STEAM, allowed="Do you bake in Rome on a Sunday?") is None


def test_the_word_a_statement_begins_with_is_not_a_novel_name():
    assert ungrounded("Then P waves arrive before S waves.", "P waves arrive before S waves.") is None
    assert not_a_question("When do P waves arrive?", "P waves arrive before S waves in every quake.") is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Why does a loaf expand with steam in the oven?", None),
        ("Steam keeps the crust soft.", "no_question"),
        ("It is hot. It is wet. What does steam do?", "no_question"),
        ("Why steam?", "odd_length"),
        ("Why does " + "a very " * 12 + "hot loaf expand?", "odd_length"),
        ("Does steam keep the crust soft for 45 minutes?", "novel_number"),
        ("Did Einstein keep the crust soft with steam?", "novel_name"),
        ("What is your favourite colour today?", "off_topic"),
        ("Does steam in the oven keep the crust soft at first so the loaf can expand for 20 minutes?", "gives_it_away"),
    ],
)
def test_a_question_is_held_to_the_statement_that_answers_it(line, fault):
    assert not_a_question(line, STEAM) == fault


def test_a_question_may_be_held_to_share_more_than_one_word():
    line = "What does steam do to bread?"
    assert not_a_question(line, STEAM, least=1) is None
    assert not_a_question(line, STEAM, least=2) == "off_topic"


# --- role drift -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "As an AI, I have no oven.",
        "How can I help you today?",
        "I'd be happy to explain that!",
        "Certainly! Steam keeps the crust soft.",
        "You're welcome! Is there anything else?",
        "I hope this helps.",
        "Here are some tips. Does that make sense?",
        "I’d be happy to explain.",
        "Steam keeps the crust soft at first so that the whole loaf expands.",  # thirteen are an explanation
    ],
)
def test_a_user_who_talks_like_an_assistant_has_drifted(line):
    assert drifted(line) == "role_drift"


@pytest.mark.parametrize(
    "line",
    [
        "Why does my loaf stay flat?",
        "Oh, that makes sense.",
        "Steam keeps the crust soft at first so that the loaf expands.",  # twelve words may be a remark
        "My loaf stayed flat again and I wonder whether my kitchen is simply too cold for the dough",
        "I’d like to hear more about the starter and about what it needs in its first days",
        "Please go on about the starter and what it needs in the first days of its life in a jar.",
        "",
    ],
)
def test_a_user_who_asks_or_remarks_has_not(line):
    assert drifted(line) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Thank you so much! how warm should it be?", "How warm should it be?"),
        ("Thanks for the tip. What about salt?", "What about salt?"),
        ("Oh, thanks a lot, but why?", "But why?"),
        ("Thanks. Thank you! And then?", "And then?"),
        ("Thanks!", "Thanks!"),
        ("Thank you very much.", "Thank you very much."),
        ("What about salt? Thanks!", "What about salt? Thanks!"),
        ("Thanksgiving is near. What should I bake?", "Thanksgiving is near. What should I bake?"),
    ],
)
def test_thanks_that_open_a_line_are_stripped_and_mere_thanks_are_kept(line, expected):
    assert unthanked(line) == expected
