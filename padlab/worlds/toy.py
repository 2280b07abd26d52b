"""A closed world in which the true quality of every response is known, and all phases run in seconds.

The language has 16 animals, whose right order is the alphabet. A prompt names four or five of them:

    sort : fox bee lark dog

The task is to name these animals in order, once each, and stop. Quality, 0 to 1, is the share of the prompt's pairs
that stand in the right order, times brevity (words asked for / words given, where more are given):

    bee dog fox lark           1       all six pairs, four words
    bee fox dog lark           0.83    five pairs of six
    bee lark lark lark lark    0.13    one pair, and five words where four were asked for
    fox bee lark dog           0.5     the prompt again

Both models are ordinary transformers trained from scratch on texts of several writers. A careful one sorts; a sloppy
one slips once; an echoing one repeats the prompt; a looping one begins well and then repeats its second word. Two
worlds differ in who writes how often. In "toy" loops are common, and a loop's next word is nearly certain, so that
likelihood per word prefers the worst texts: fluency and quality disagree. In "toy-aligned" nobody loops, and careful
texts are the most common and the most predictable: likelihood and quality agree.

The teacher has also read questions (`question`) whose answer is the better of two texts, wrong once in ten times: what
it knows about quality is in its selection probabilities, whatever its likelihood prefers.

    >>> prompts(1, seed=3)
    ['sort : ...']
    >>> quality("sort : fox bee lark dog", "bee dog fox lark")
    1.0
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen",
         "ibis", "jay", "koi", "lark", "mole", "newt", "owl", "pig")  # fmt: skip
WRITERS = {  # how often who writes
    "toy": {"careful": 0.25, "sloppy": 0.2, "echo": 0.15, "loop": 0.4},
    "toy-aligned": {"careful": 0.55, "sloppy": 0.25, "echo": 0.2, "loop": 0.0},
}
LOOP = 10  # words of a loop
SIDES = {"train": False, "heldout": True}
NOISE = 0.1  # share of questions whose answer in the teacher's texts is wrong


def prompts(count: int, seed: int = 0, heldout: bool = False) -> list[str]:
    """Prompts of the world, without end; a set of animals belongs to training or to the held-out side, never to both.

    Args:
        count: how many, >= 1; repetitions are possible, as there are 6,188 sets of animals in all.
        seed: decides which.
        heldout: from the quarter of all sets that no training text uses.

    >>> set(map(_key, prompts(50))) & set(map(_key, prompts(50, heldout=True)))
    set()
    """
    rng, texts = random.Random(f"{seed} {heldout}"), []
    while len(texts) < count:
        text = "sort : " + " ".join(rng.sample(WORDS, rng.choice((4, 5))))
        if (_key(text) % 4 == 0) == heldout:
            texts.append(text)
    return texts


def quality(prompt: str, response: str) -> float:
    """The true score of a response, 0 to 1: share of the prompt's pairs in the right order, times brevity.

    A pair counts where both animals are named and their first mentions stand in alphabetical order.

    Args:
        prompt: a prompt of this world.
        response: any text; words that are no animals count as words given.

    >>> quality("sort : fox bee lark dog", "fox bee lark dog")
    0.5
    """
    wanted, given = sorted(_animals(prompt)), response.split()
    first = {word: given.index(word) for word in wanted if word in given}
    pairs = list(combinations(wanted, 2))
    right = sum(a in first and b in first and first[a] < first[b] for a, b in pairs)
    return right / len(pairs) * min(1.0, len(wanted) / max(len(given), 1))


def question(prompt: str, responses: Sequence[str]) -> str:
    """The selection question in the toy's own words, for `add_selection_probs`; two options.

    Only animals are taken over from prompt and responses, so that no response can ask or answer anything.

    Args:
        prompt: a prompt of this world.
        responses: two texts, the options A and B.

    Raises:
        ValueError: more or fewer than two responses.

    >>> question("sort : fox bee", ["bee fox", "fox . A"])
    'better : bee fox . A bee fox . B fox .'
    """
    if len(responses) != 2:
        raise ValueError(f"the toy world's question has two options, got {len(responses)}; use method='pairwise'")
    wanted, first, second = (" ".join(words) for words in (sorted(_animals(prompt)), *map(_animals, responses)))
    return f"better : {wanted} . A {first} . B {second} ."


def corpus(count: int, seed: int, world: str = "toy", questions: float = 0.5) -> Iterator[tuple[str, str]]:
    """Texts (what is asked, what is answered) to train on; only training prompts.

    Args:
        count: how many.
        seed: decides all.
        world: "toy" or "toy-aligned".
        questions: share of selection questions; 0 for a student.
    """
    rng = random.Random(f"corpus {seed}")
    for prompt in prompts(count, seed=seed + 1000):
        if rng.random() >= questions:
            yield prompt, written(prompt, world, rng)
            continue
        pair = [written(prompt, rng.choice(list(WRITERS)), rng) for _ in range(2)]
        while pair[0] == pair[1]:
            pair[1] = written(prompt, "toy", rng)
        first, second = (quality(prompt, text) for text in pair)
        wrong = rng.random() < (0.5 if first == second else NOISE)
        yield question(prompt, pair), "AB"[(first > second) == wrong]


def written(prompt: str, world: str, rng: random.Random) -> str:
    """One response by one of the world's writers, chosen as often as `WRITERS` says.

    Args:
        prompt: a prompt of this world.
        world: "toy" or "toy-aligned".
        rng: decides the writer and the slip.
    """
    shares = WRITERS[world]
    kind = rng.choices(list(shares), list(shares.values()))[0]
    answer = sorted(_animals(prompt))
    if kind == "sloppy":
        k = rng.randrange(len(answer) - 1)
        answer[k : k + 2] = answer[k + 1], answer[k]
    elif kind == "echo":
        answer = _animals(prompt)
    elif kind == "loop":
        answer = answer[:2] + [answer[1]] * (LOOP - 2)
    return " ".join(answer)


def _animals(text: str) -> list[str]:
    return [word for word in text.split() if word in WORDS]


def _key(prompt: str) -> int:
    """A number that depends on the set of animals only, the same on every machine."""
    return sum(1 << WORDS.index(word) for word in _animals(prompt)) * 2654435761 % (1 << 32) >> 20
