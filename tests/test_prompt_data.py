"""The bundled prompts: well formed, mixed, free of near-duplicates, and train and held-out on different topics."""

import json
import math
import re
from collections import Counter
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "data" / "prompts"
FEWEST = {"train": 400, "heldout": 160}
NEAR_DUPLICATE = 0.7  # wording_overlap above this: two prompts say the same thing
SHARED_TOPIC = 0.4  # topic_overlap above this: a train and a held-out prompt are about the same thing

# Words that name a task or a form, not what a prompt is about.
TASK_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        """about after again all and answer any are ask been before between both brainstorm but call can choose
        classify compare compose could describe dialogue differ difference does down draw each every explain
        explanation few find first five for formula four from get give had haiku has have help here how idea
        into its just keep label less like limerick line list long made make many may might more most much must
        name need never new nine nobody none not nothing now off once one only order other our out over people
        person plan please poem point put question quote read rewrite say second sentence set seven she short
        should show six some speak start state step still story suggest summarise summary take tell ten text
        than that the their them then there these they thing think this those three time tip too two under until
        use very want was way week were what when where which while who why will with without word work would
        write year you your""",
    )
)

# Patterns of the topics kept for the held-out file; no train prompt may contain one.
HELDOUT_TOPICS = {
    "chemistry": r"chemi\w*|acids?|molecul\w*|atoms?|oxygen|sodium|chlorine|catalysts?|dissolv\w*|crystals?|rust\w*",
    "insects and the sea": r"insects?|beetles?|spiders?|moths?|mosquito\w*|butterfl\w*|ladybirds?|sharks?|crabs?|"
    r"octopus\w*|squid\w*|jellyfish|whales?|corals?|starfish|urchins?|mussels?|scorpions?|seahorses?",
    "bees": r"bees?|beek\w*|bumblebees?|honey\w*|hives?|swarms?|nectar",
    "pictures": r"paint\w*|portraits?|museums?|galler(y|ies)|watercolou?rs?|sculptur\w*|artists?|etchings?|"
    r"photo\w*|cameras?|lens(es)?|shutters?|apertures?",
    "games": r"chess\w*|pawns?|checkmate|draughts|gambits?|board games?|dice",
    "rails and bicycles": r"rail\w*|trains?|locomotives?|trams?|platforms?|bicycl\w*|bikes?|cyclists?",
    "languages": r"languages?|linguist\w*|dialects?|verbs?|nouns?|grammar|translat\w*|alphabets?|japanese|cyrillic",
    "outdoors": r"camping|camp(site|fire)s?|hik(e|es|ed|er|ers|ing)|tents?|rucksacks?|trails?|compass(es)?|"
    r"maps?|atlas(es)?",
    "feasts": r"weddings?|festivals?|bride\w*|marr(y|ied|iage)",
    "rocks": r"volcan\w*|lava|magma|rocks?|stones?|granite|basalt|limestone|fossils?|minerals?|erupt\w*|geolog\w*",
    "shops, removals, libraries": r"second-hand|flea market|junk|removal|librar\w*|(move|moving) house|moved? out",
    "body": r"body|bodies|gums?|teeth|tooth|dentists?|eyes?|knees?|bones?|lungs?|hearts?|muscles?|kidneys?|blood",
    "rivers": r"rivers?|bridges?|ferr(y|ies)|streams?|valleys?|tributar\w*",
    "stage and air": r"radios?|films?|cinemas?|theatres?|act(or|ress)\w*|stages?|curtains?|rehears\w*|puppets?|drama",
    "needlework": r"sew(n|ing|ed|s)?|knit\w*|crochet\w*|yarn|wool(len)?|quilts?|stitch\w*|weaving|embroider\w*",
}
HELDOUT_WORD = re.compile(r"\b(" + "|".join(HELDOUT_TOPICS.values()) + r")\b", re.IGNORECASE)


def load(split: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def stem(word: str) -> str:
    """Cut an English ending off: `waters`, `watering`, `watered` -> `water`; crude, but the same for every text."""
    return re.sub(r"(?<=[a-z]{3})(ing|ies|es|ed|s|y|e)$", "", word)


def words(text: str, leave_out: frozenset = frozenset()) -> frozenset:
    return frozenset(stem(w) for w in re.findall(r"[a-z]{3,}", text.lower()) if w not in leave_out)


class Overlap:
    """Cosine of two texts' word sets, each word weighted by its rarity (inverse document frequency) in a corpus."""

    def __init__(self, corpus: list[str], leave_out: frozenset = frozenset()):
        self.leave_out, self.size = leave_out, len(corpus)
        self.counts = Counter(word for text in corpus for word in words(text, leave_out))
        self.cache = {}

    def weight(self, word: str) -> float:
        return math.log((self.size + 1) / (self.counts[word] + 0.5)) ** 2

    def vector(self, text: str) -> tuple[frozenset, float]:
        if text not in self.cache:
            found = words(text, self.leave_out)
            self.cache[text] = found, math.sqrt(sum(map(self.weight, found)))
        return self.cache[text]

    def __call__(self, a: str, b: str) -> float:
        (words_a, norm_a), (words_b, norm_b) = self.vector(a), self.vector(b)
        return sum(map(self.weight, words_a & words_b)) / (norm_a * norm_b) if norm_a and norm_b else 0.0


def pairs_above(overlap: Overlap, pairs, threshold: float) -> list[tuple]:
    scored = ((round(overlap(a, b), 3), a[:100], b[:100]) for a, b in pairs)
    return sorted((row for row in scored if row[0] > threshold), reverse=True)


@pytest.fixture(scope="module")
def prompts() -> dict[str, list[str]]:
    return {split: [row["prompt"] for row in load(split)] for split in FEWEST}


@pytest.fixture(scope="module")
def wording_overlap(prompts):
    return Overlap(prompts["train"] + prompts["heldout"])


@pytest.fixture(scope="module")
def topic_overlap(prompts):
    return Overlap(prompts["train"] + prompts["heldout"], leave_out=TASK_WORDS)


@pytest.mark.parametrize("split", FEWEST)
def test_rows_have_the_three_fields_and_clean_text(split):
    rows = load(split)
    assert len(rows) >= FEWEST[split]
    for number, row in enumerate(rows, 1):
        assert list(row) == ["id", "category", "prompt"], row
        assert re.fullmatch(rf"{split}-0*{number}", row["id"]), row["id"]
        assert re.fullmatch("[a-z]+", row["category"]), row
        text = row["prompt"]
        assert isinstance(text, str), row["id"]
        assert text == text.strip(), row["id"]
        assert len(text.split()) >= 3, row["id"]
        assert not re.search(r" {2}|\n{3}|[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\ufeff\ufffd]", text), row["id"]


def test_ids_are_unique_over_both_files():
    counts = Counter(row["id"] for split in FEWEST for row in load(split))
    assert [name for name, n in counts.items() if n > 1] == []


@pytest.mark.parametrize("split", FEWEST)
def test_every_window_of_32_prompts_mixes_categories(split):
    categories = [row["category"] for row in load(split)]
    assert len(set(categories)) >= 10
    assert [i for i, (a, b) in enumerate(pairwise(categories)) if a == b] == []
    assert min(len(set(categories[i : i + 32])) for i in range(len(categories) - 31)) >= 10
    assert min(Counter(categories).values()) >= len(categories) / 40, "a category with hardly any prompts"


@pytest.mark.parametrize("split", FEWEST)
def test_at_most_four_percent_begin_alike(split, prompts):
    starts = Counter(" ".join(re.findall(r"\w+", text.lower())[:3]) for text in prompts[split])
    assert max(starts.values()) <= 0.04 * len(prompts[split]), starts.most_common(3)


def test_no_near_duplicates_within_or_between_files(prompts, wording_overlap):
    pairs = combinations(prompts["train"] + prompts["heldout"], 2)
    assert pairs_above(wording_overlap, pairs, NEAR_DUPLICATE) == []


def test_train_and_heldout_share_no_topic(prompts, topic_overlap):
    pairs = product(prompts["train"], prompts["heldout"])
    assert pairs_above(topic_overlap, pairs, SHARED_TOPIC) == []


def test_heldout_topic_words_mark_heldout_prompts_and_no_train_prompt(prompts):
    strays = [(HELDOUT_WORD.search(text).group(), text[:80]) for text in prompts["train"] if HELDOUT_WORD.search(text)]
    assert strays == []
    marked = sum(bool(HELDOUT_WORD.search(text)) for text in prompts["heldout"])
    assert marked >= 0.85 * len(prompts["heldout"]), "the word list no longer describes the held-out topics"


# (a bundled train prompt, the same request in other words, another request on the same topic)
PLANTED = [
    (
        "Give me five tips for keeping basil alive on a kitchen windowsill.",
        "How do I keep the basil on my kitchen windowsill alive? I would like five tips.",
        "Name a mistake that people make with basil on a sunny windowsill.",
    ),
    (
        "Explain why Venus is hotter than Mercury although Mercury is closer to the Sun.",
        "Mercury is closer to the Sun, and still Venus is the hotter planet: explain why.",
        "Write a quarrel between Venus and Mercury about who is closer to the Sun.",
    ),
    (
        "Plan a week of vegetarian dinners for two people who have 40 euros.",
        "We are two people with 40 euros; please plan our vegetarian dinners for a week.",
        "Suggest names for a place that serves vegetarian dinners on weekdays.",
    ),
]


@pytest.mark.parametrize(("original", "paraphrase", "same_topic"), PLANTED)
def test_measures_catch_a_planted_paraphrase_and_a_planted_topic(
    original, paraphrase, same_topic, prompts, wording_overlap, topic_overlap
):
    assert original in prompts["train"]
    assert wording_overlap(original, original) == pytest.approx(1)
    assert pairs_above(wording_overlap, product(prompts["train"], [paraphrase]), NEAR_DUPLICATE)[0][1] == original
    assert pairs_above(topic_overlap, product(prompts["train"], [same_topic]), SHARED_TOPIC)[0][1] == original


def test_readme_counts_are_those_of_the_files():
    table = re.findall(r"^\| ([a-z]+) \| (\d+) \| (\d+) \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    stated = {name: (int(train), int(heldout)) for name, train, heldout in table}
    train, heldout = (Counter(row["category"] for row in load(split)) for split in ("train", "heldout"))
    assert stated == {name: (train[name], heldout[name]) for name in train | heldout}
