"""Values that fit a schema: from its examples where it has some, else from its own limits, drawn by a die.

Whatever is made can be checked (`Maker.valid`): a schema whose parts contradict each other, or that only a parser
could satisfy, is an error (`Unmade`) and never an invalid value.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from simlab.die import Die
from simlab.errors import InputError, SimlabError
from simlab.patterns import matching_text
from simlab.spec import Spec

TRIES = 12
MOST_MADE = 5000  # parts of one value; what comes after them is null
MOST_WANTED = 1000  # elements or properties that are made because a schema wants at least so many
LONGEST = 100_000  # characters of a text
DEEPEST = 12  # levels of objects; deeper ones hold what is required and, at the very end, nothing
WORDS = (
    "amber harbour willow copper meadow lantern cedar orchid river falcon velvet summit maple anchor juniper comet "
    "saffron birch canyon pebble cobalt heron thistle aurora basil quartz raven linden marble sorrel"
).split()
NAMES = "Ada Bruno Clara Davor Elin Farah Goran Hanna Ilya Jonas Katja Lior Mina Nadia Oskar Petra Rafi Selma".split()
SURNAMES = "Abel Brandt Costa Dorn Eklund Fabri Garcia Holm Ivers Jansen Keller Lund Moreau Novak Olsen Peters".split()
CITIES = "Arlen Brookfield Carden Dunmere Elmstad Fairhaven Glenford Hollen Ilmar Kestrel Lakeside Norwell".split()
STREETS = ("Mill Lane", "Station Road", "Harbour Street", "Orchard Way", "Church Street", "Bridge Road", "Park Avenue")


class Unmade(SimlabError):
    """No value could be made that a schema accepts."""


class Maker:
    """Makes values by one die at one moment of virtual time."""

    def __init__(self, spec: Spec, die: Die, clock: datetime) -> None:
        self._spec, self._die, self._clock = spec, die, clock
        self._left = MOST_MADE

    def valid(self, schema: Any, name: str = "", *, tries: int = TRIES, fuller: bool = False) -> Any:
        """A value that the schema accepts; raises Unmade with what was wrong with the last try.

        What is optional comes with every second try, with `fuller` from the first on.
        """
        self._refuse_endless(schema)
        wrong = "nothing tried"
        for attempt in range(tries):
            try:
                made = self.value(schema, None, name, fuller=(attempt % 2 == 1) is not fuller)
            except (InputError, Unmade, RecursionError, ValueError) as error:
                wrong = str(error) or type(error).__name__
                continue
            if self._spec.valid(made, schema):
                return made
            wrong = self._spec.problems(made, schema)[0][:200]
        raise Unmade(wrong)

    def _refuse_endless(self, schema: Any) -> None:
        if self._spec.least(schema) > MOST_MADE:
            raise Unmade(f"its smallest value has more than {MOST_MADE:,} parts")

    def value(
        self, schema: Any, turn: int | None = None, name: str = "", *, depth: int = 0, fuller: bool = False
    ) -> Any:
        """A value; with a `turn` the example of that turn, else one by the die. It is meant to fit, and not checked.

        `name` is what the value is called, which tells a text's kind where the schema does not.
        """
        if not depth:
            self._left = MOST_MADE if self._spec.least(schema) <= MOST_MADE else 0
        self._left -= 1
        if self._left < 0:
            return None
        schema = self._spec.schema(schema)
        examples = self._examples(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._die.choice([e for e in schema["enum"] if e is not None] or [None])
        if examples and (len(examples) > 2 or "pattern" not in schema):
            return examples[turn % len(examples)] if turn is not None else self._die.choice(examples)
        if any(key in schema for key in ("allOf", "oneOf", "anyOf")):
            return self._composed(schema, turn, name, depth, fuller)
        return self._made(schema, turn, name, depth, fuller)

    def _examples(self, schema: Mapping[str, Any]) -> list[Any]:
        """The document's own examples, those that are valid."""
        given = schema.get("examples", ())
        if "example" in schema and not given:
            given = [schema["example"]]
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            return []
        return self._spec.fitting(schema, given)

    def _composed(self, schema: Mapping[str, Any], turn: int | None, name: str, depth: int, fuller: bool) -> Any:
        alternatives = self._spec.alternatives(schema)
        merged = self._spec.merged(schema)
        if not alternatives:
            return self.value(merged, turn, name, depth=depth, fuller=fuller) if merged != schema else {}
        branch, whole = self._alternative(alternatives, depth)
        made = self._pinned(merged, branch, self.value(whole, turn, name, depth=depth + 1, fuller=fuller))
        return self._only(whole, alternatives, made) if "oneOf" in merged and isinstance(made, dict) else made

    def _only(self, whole: Any, alternatives: Sequence[tuple[Any, Any]], made: dict[str, Any]) -> dict[str, Any]:
        """An object that fits one alternative and none of the others, as oneOf wants it.

        Where another would accept it too, it gets a property of that one's, with a value which that one does not take.
        """
        own = self._spec.properties(whole)
        for _, other in alternatives:
            if other is whole or not self._spec.valid(made, other):
                continue
            for name, schema in self._spec.properties(other).items():
                odds: tuple[Any, ...] = (0, {}, "x")
                odd = next((one for one in odds if not self._spec.valid(one, schema)), None)
                if name not in own and odd is not None:
                    made = {**made, name: odd}
                    break
        return made

    def _alternative(self, alternatives: Sequence[tuple[Any, Any]], depth: int) -> tuple[Any, Any]:
        """One of several alternatives; deep down the plainest, so that what contains itself comes to an end."""
        real = [one for one in alternatives if self._spec.kinds(one[1]) != ["null"]] or list(alternatives)
        if depth > 4:
            return min(real, key=lambda one: [kind in self._spec.kinds(one[1]) for kind in ("object", "array")])
        return self._die.choice(real)

    def _pinned(self, schema: Mapping[str, Any], branch: Any, made: Any) -> Any:
        """The value with the discriminator that names its alternative (OpenAPI 3.1.0, discriminator object)."""
        said = schema.get("discriminator")
        name = said.get("propertyName") if isinstance(said, Mapping) else None
        if not isinstance(name, str) or not isinstance(made, dict) or not isinstance(branch, Mapping):
            return made
        target = str(branch.get("$ref", "")).rsplit("/", 1)[-1]
        mapping = said.get("mapping") or {} if isinstance(said, Mapping) else {}
        key = next((k for k, v in mapping.items() if str(v).rsplit("/", 1)[-1] == target), target)
        own = self._spec.merged(self._spec.properties(branch).get(name, {}))
        if key and "const" not in own and key in (own.get("enum") or [key]):
            return {**made, name: key}
        return made

    # ── by type ────────────────────────────────────────────────────────────────────────────────────────────

    def _made(self, schema: Mapping[str, Any], turn: int | None, name: str, depth: int, fuller: bool) -> Any:
        kinds = self._spec.kinds(schema)
        kind = next((k for k in kinds if k != "null"), "null" if kinds else "string")
        if kind == "null" or (depth > DEEPEST and "null" in kinds):
            return None
        if kind == "boolean":
            return self._die.chance(0.5)
        if kind in ("integer", "number"):
            return self._number(schema, kind)
        if kind == "array":
            return self._list(schema, turn, name, depth, fuller)
        if kind == "object":
            return self._object(schema, turn, depth, fuller)
        return self._text(schema, name)

    def _number(self, schema: Mapping[str, Any], kind: str) -> int | float:
        step = schema.get("multipleOf")
        low: Any = schema.get(
            "minimum", schema["exclusiveMinimum"] + 1 if _number(schema.get("exclusiveMinimum")) else 0
        )
        high: Any = schema.get(
            "maximum", schema["exclusiveMaximum"] - 1 if _number(schema.get("exclusiveMaximum")) else None
        )
        if high is not None and high < low:  # a bound below zero alone, or bounds that lie close
            low = high - 50 if "minimum" not in schema and "exclusiveMinimum" not in schema else low
        if step and isinstance(step, int | float):
            first = int(-(-low // step))
            last = int(high // step) if high is not None else first + 50
            return self._die.between(first, max(first, last)) * step
        top: Any = high if high is not None else low + 50
        if kind == "number" and (int(low) != low or int(top) < low or int(top) == int(low) != top):
            return float(round(low + (top - low) * self._die.below(1000) / 1000, 6) if top > low else low)
        return self._die.between(int(low), max(int(low), int(top)))

    def _list(self, schema: Mapping[str, Any], turn: int | None, name: str, depth: int, fuller: bool) -> list[Any]:
        least = min(schema.get("minItems", 0 if depth > DEEPEST // 2 else 1), MOST_WANTED)
        count = self._die.between(least, max(least, min(schema.get("maxItems", 3), 3)))
        if depth > DEEPEST // 2:
            count = least
        heads = schema.get("prefixItems", [])
        parts = [heads[i] if i < len(heads) else schema.get("items", {}) for i in range(max(count, len(heads)))]
        made = [self.value(part, turn, name, depth=depth + 1, fuller=fuller) for part in parts]
        if not schema.get("uniqueItems"):
            return made
        for _ in range(TRIES * len(made)):
            twins = [i for i, value in enumerate(made) if value in made[:i]]
            if not twins:
                return made
            made[twins[0]] = self.value(schema.get("items", {}), None, name, depth=depth + 1, fuller=fuller)
        return [value for i, value in enumerate(made) if value not in made[:i]]

    def _object(self, schema: Mapping[str, Any], turn: int | None, depth: int, fuller: bool) -> dict[str, Any]:
        if depth > DEEPEST:
            return {}
        required = self._spec.required(schema)
        parts = self._spec.properties(schema)
        made = {
            name: self.value(part, turn, name, depth=depth + 1, fuller=fuller and depth < 2)
            for name, part in parts.items()
            if name in required or (fuller and depth < 3 and self._die.chance(0.6))
        }
        extra = schema.get("additionalProperties", {})
        for name in required:
            if name not in made:
                made[name] = self.value(extra if isinstance(extra, Mapping) else {}, turn, name, depth=depth + 1)
        least = min(schema.get("minProperties", 0), MOST_WANTED)
        for name, part in parts.items():
            if len(made) >= least:
                break
            made.setdefault(name, self.value(part, turn, name, depth=depth + 1))
        while len(made) < least and extra is not False:
            made[f"key{len(made)}"] = self.value(extra if isinstance(extra, Mapping) else {}, turn, depth=depth + 1)
        return made

    # ── texts ──────────────────────────────────────────────────────────────────────────────────────────────

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        least, most = min(schema.get("minLength", 0), LONGEST), schema.get("maxLength", 100)
        if "pattern" in schema and schema.get("format") not in ("date-time", "date"):
            for _ in range(TRIES * 2):
                text = matching_text(schema["pattern"], self._die)
                if least <= len(text) <= schema.get("maxLength", len(text)):
                    return text
            return text
        formatted = self._formatted(schema)
        if formatted is not None:
            return formatted
        return self._spoken(name)[:most].rstrip().ljust(least, "x")

    def _formatted(self, schema: Mapping[str, Any]) -> str | None:
        """A text of a format (JSON Schema 2020-12 validation, section 7.3; OpenAPI's own besides)."""
        form = schema.get("format")
        if form == "date-time":
            moment = self._clock + timedelta(hours=self._die.between(1, 400))
            return moment.isoformat().replace("+00:00", "Z")
        if form == "date":
            return (self._clock + timedelta(days=self._die.between(1, 40))).date().isoformat()
        if form == "time":
            return f"{self._die.below(24):02d}:{self._die.below(60):02d}:00Z"
        if form == "duration":
            return f"P{self._die.between(1, 20)}D"
        if form == "uuid":
            digits = "".join(f"{self._die.below(65536):04x}" for _ in range(8))
            return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
        if form in ("email", "idn-email"):
            return f"{self._die.choice(NAMES).lower()}.{self._die.choice(SURNAMES).lower()}@{self._word()}.example"
        if form in ("uri", "url", "iri", "uri-reference"):
            return f"https://{self._word()}.example/{self._word()}{self._die.below(1000)}"
        if form in ("hostname", "idn-hostname"):
            return f"{self._word()}.example"
        if form == "ipv4":
            return f"192.0.2.{self._die.between(1, 254)}"
        if form == "ipv6":
            return f"2001:db8::{self._die.between(1, 65000):x}"
        if form == "byte":
            return "c2FtcGxl"
        return None

    def _spoken(self, name: str) -> str:
        """A text as people would have it, by what it is called."""
        plain = "".join(c for c in name.lower() if c.isalnum())
        die = self._die
        if not plain:
            return f"text {die.below(10000)}"
        if plain.endswith("email"):
            return f"{die.choice(NAMES).lower()}.{die.choice(SURNAMES).lower()}@{self._word()}.example"
        if plain.endswith(("firstname", "givenname")):
            return die.choice(NAMES)
        if plain.endswith(("lastname", "surname", "familyname")):
            return die.choice(SURNAMES)
        if plain.endswith(("fullname", "username", "displayname", "ownername", "contactname")):
            return f"{die.choice(NAMES)} {die.choice(SURNAMES)}"
        if plain.endswith(("phone", "phonenumber", "mobile", "fax")):
            return f"+4416329{die.below(100000):05d}"
        if plain.endswith(("city", "town")):
            return die.choice(CITIES)
        if plain.endswith(("street", "address", "addressline1", "line1")):
            return f"{die.between(1, 200)} {die.choice(STREETS)}"
        if plain.endswith(("country", "countrycode")):
            return die.choice(("DE", "FR", "IT", "PT", "SE"))
        if plain.endswith("currency"):
            return die.choice(("EUR", "USD", "SEK"))
        if plain.endswith(("zip", "zipcode", "postalcode", "postcode")):
            return f"{die.between(10000, 99999)}"
        if plain.endswith(("url", "uri", "link", "href", "website")):
            return f"https://{self._word()}.example/{self._word()}{die.below(1000)}"
        if plain.endswith("date"):
            return (self._clock + timedelta(days=die.between(1, 40))).date().isoformat()
        if plain.endswith(("id", "sid", "key", "token", "code", "number", "ref", "reference")):
            return f"{self._word()[:3].upper()}{die.between(10000, 99999)}"
        return f"{self._word()} {self._word()} {die.between(10, 999)}"

    def _word(self) -> str:
        return self._die.choice(WORDS)

    # ── near to a given value ──────────────────────────────────────────────────────────────────────────────

    def fitted(self, schema: Any, held: Any, name: str = "", depth: int = 0) -> Any:
        """The value of a schema nearest to a held one: what fits is kept, what is missing made, the rest left out."""
        merged = self._spec.merged(schema)
        if depth > DEEPEST:
            return held
        if not depth:
            self._refuse_endless(schema)
        if (branches := self._spec.branches(schema)) and not merged.get("properties"):
            for branch in branches:
                made = self.fitted(branch, held, name, depth + 1)
                if self._spec.valid(made, schema):
                    return made
            return held if self._spec.valid(held, schema) else self.valid(schema, name)
        if isinstance(held, Mapping) and "object" in (self._spec.kinds(schema) or ["object"]):
            return self._fitted_object(schema, held, depth)
        if isinstance(held, list | tuple) and "array" in self._spec.kinds(schema):
            part = merged.get("items", {})
            made = [self.fitted(part, value, name, depth + 1) for value in held]
            return made if self._spec.valid(made, schema) else self.valid(schema, name)
        return held if self._spec.valid(held, schema) else self.valid(schema, name)

    def _fitted_object(self, schema: Any, held: Mapping[str, Any], depth: int) -> Any:
        parts = self._spec.properties(schema)
        if not parts:
            return dict(held) if self._spec.valid(dict(held), schema) else self.valid(schema)
        required = self._spec.required(schema)
        made: dict[str, Any] = {}
        for name, part in parts.items():
            if self._spec.schema(part).get("writeOnly"):
                continue
            if name in held:
                made[name] = self.fitted(part, held[name], name, depth + 1)
            elif name in required:
                made[name] = self.valid(part, name)
        if self._spec.valid(made, schema):
            return made
        kept = {name: value for name, value in made.items() if name in required or self._spec.valid(value, parts[name])}
        if self._spec.valid(kept, schema):
            return kept
        least = {name: value for name, value in kept.items() if name in required}
        if self._spec.valid(least, schema):
            return least
        return self.valid(schema)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
