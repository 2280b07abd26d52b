"""What all checks share: run a function on random inputs, compare its answers, name the likely mistake."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from padlab.show.html.safe import Html, escape, shorten, visible

SIZES = (3, 3, 3, 4, 4, 5, 6, 7)  # of the random inputs, small ones first: the first failure is short to read
DRAWS = 200  # at most so many sets of inputs are drawn until one tells all mistakes apart
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # tolerance: answers in float32 pass
LONGEST = 400  # characters shown of an input or an answer


@dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Args:
        name: of the exercise.
        state: "not attempted", "passed" or "hint".
        message: one to three sentences.
        mistake: of a hint, the key of the recognised mistake; where none is, "call", "error", "type", "not attempted"
            (for some inputs), "shape", "nan" or "value".

    >>> Verdict("jsd", "passed", "The answers to all 8 random inputs are right.")
    jsd: passed. The answers to all 8 random inputs are right.
    """

    name: str
    state: str
    message: str
    mistake: str = ""

    def __repr__(self) -> str:
        return f"{self.name}: {self.state}. {self.message}"

    def _repr_html_(self) -> str:
        html = f"<p><b>{escape(self.name)}: {escape(self.state)}.</b> {escape(self.message)}</p>"
        return Html(html, repr(self))._repr_html_()


class Problem(NamedTuple):
    """Why a function has no answer for an input: a kind ("not attempted", "error", "type") and a sentence."""

    kind: str
    message: str


def check(
    function: Any, right: Callable, mistakes: Sequence[Callable], draw: Callable, name: str, seed: int | None
) -> Verdict:
    """Run a function on random inputs and judge its answers; never raises, whatever the function does.

    Args:
        function: the student's.
        right: the right function; its parameters have the names that the student sees.
        mistakes: functions that make a known mistake: the name is its key, the docstring its hint (what was done, what
            to do instead).
        draw: makes an input (a tuple of arguments) from a random generator and a size.
        name: of the exercise.
        seed: of the inputs; None draws other ones each time.

    >>> check(abs, lambda x: x + 1, [], lambda rng, size: (size,), "next", 0)
    next: hint. For next(x=3), the right answer is 4; your function returned 3.
    """
    if not callable(function):
        return Verdict(name, "hint", f"Give the function itself: checks.{name}({name}), without calling it.", "call")
    inputs = draw_inputs(np.random.default_rng(seed), right, mistakes, draw)
    answers, problem = answers_until_problem(function, inputs)
    expected = answers_of(right, inputs)
    wrong = [k for k, answer in enumerate(answers) if not agree(expected[k], answer)]
    if not wrong and problem is None:
        return Verdict(name, "passed", f"The answers to all {len(inputs)} random inputs are right.")
    if not answers and problem.kind == "not attempted":
        return Verdict(name, "not attempted", "Write the function, with a return, then run the check again.")
    at = wrong[0] if wrong else len(answers)
    case = f"{name}({_named(right, inputs[at])})"
    if not wrong:
        return Verdict(name, "hint", f"For {case}, your function {problem.message}", problem.kind)
    return _hint(name, case, expected[at], answers[at], _fitting(mistakes, inputs, answers))


def draw_inputs(rng: np.random.Generator, right: Callable, mistakes: Sequence[Callable], draw: Callable) -> list[tuple]:
    """One input per size, such that the right function and those with a mistake all give different answers."""
    for _ in range(DRAWS):
        inputs = [draw(rng, size) for size in SIZES]
        answers = [answers_of(function, inputs) for function in (right, *mistakes)]
        if not any(all(map(agree, *pair)) for pair in combinations(answers, 2)):
            break
    return inputs


def answers_until_problem(function: Callable, inputs: Sequence[tuple]) -> tuple[list[Tensor], Problem | None]:
    """A student's answers, up to the first input for which there is none, and why."""
    answers: list[Tensor] = []
    for arguments in inputs:
        answer = run(function, arguments)
        if isinstance(answer, Problem):
            return answers, answer
        answers.append(answer)
    return answers, None


def answers_of(function: Callable, inputs: Sequence[tuple]) -> list[Tensor]:
    """The answers of one of our own functions; none of them changes its input."""
    return [as_tensor(function(*arguments)) for arguments in inputs]


def run(function: Callable, arguments: tuple) -> Tensor | Problem:
    """The answer of a student's function to a fresh copy of an input, or why there is none."""
    try:
        value = function(*copy.deepcopy(arguments))
    except NotImplementedError:
        return Problem("not attempted", "raised NotImplementedError.")
    except RecursionError:
        return Problem("error", "calls itself without end (RecursionError).")
    except KeyboardInterrupt:
        return Problem("error", "was interrupted. Does one of its loops never end?")
    except BaseException as error:  # whatever it is, it is shown
        return Problem("error", f"raised {type(error).__name__}{_said(error)}")
    if value is None or value is Ellipsis:
        return Problem("not attempted", f"returned {value}. Is a return missing?")
    try:
        return as_tensor(value)
    except BaseException:  # of an object of any class
        return Problem("type", f"returned a {type(value).__name__} that is not numbers of one shape.")


def as_tensor(value: Any) -> Tensor:
    """A number, tensor, array or lists of them as a float64 tensor of its own.

    Raises:
        TypeError: anything else, complex numbers and text included.

    >>> as_tensor([torch.tensor(1), 2.0])
    tensor([1., 2.], dtype=torch.float64)
    """
    if isinstance(value, list | tuple):
        return torch.stack([as_tensor(entry) for entry in value]) if value else torch.empty(0, dtype=torch.float64)
    if isinstance(value, Tensor):
        value = value.detach().cpu().to_dense()
        if value.is_complex():
            raise TypeError("complex numbers")
        return value.to(torch.float64, copy=True)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{type(value).__name__} is not numbers")
    return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))


def agree(expected: Tensor, answer: Tensor) -> bool:
    """Same shape and, within the tolerance, same numbers; what is NaN in `expected` is not compared."""
    if expected.shape != answer.shape:
        return False
    known = ~expected.isnan()
    return torch.allclose(expected[known], answer[known], rtol=RELATIVE, atol=ABSOLUTE)


def _fitting(mistakes: Sequence[Callable], inputs: Sequence[tuple], answers: Sequence[Tensor]) -> Callable | None:
    """The mistake that explains all answers there are."""
    for mistake in mistakes:
        wrong = answers_of(mistake, inputs[: len(answers)])
        if all(map(agree, wrong, answers)) and not all(answer.isnan().all() for answer in wrong):
            return mistake
    return None


def _hint(name: str, case: str, expected: Tensor, answer: Tensor, mistake: Callable | None) -> Verdict:
    key, advice = "value", ""
    if mistake is not None:
        key, advice = mistake.__name__, " ".join(mistake.__doc__.split()) + " "
    elif answer.shape != expected.shape:
        key = "shape"
        wanted = f"have {tuple(expected.shape)}" if expected.dim() else "be one number, of shape ()"
        advice = f"The answer has the shape {tuple(answer.shape)}; it should {wanted}. "
    elif answer.isnan().any():
        key, advice = "nan", "The answer contains NaN: 0/0, or the log of a negative number. "
    example = f"For {case}, the right answer is {shown(expected)}; your function returned {shown(answer)}."
    return Verdict(name, "hint", advice + example, key)


def _named(function: Callable, arguments: tuple) -> str:
    parameters = inspect.signature(function).parameters
    return ", ".join(f"{key}={shown(value)}" for key, value in zip(parameters, arguments, strict=True))


def _said(error: BaseException) -> str:
    """The first line of an error's message, where it has one."""
    try:
        line = str(error).strip().split("\n")[0]
    except BaseException:  # of an exception of any class
        line = ""
    return f": {visible(shorten(line, LONGEST))}" if line else "."


def shown(value: Any) -> str:
    """Numbers, texts, lists and tensors as Python writes lists, numbers with five digits.

    >>> shown([torch.tensor([1.0, 1 / 3]), "A"])
    "[[1, 0.33333], 'A']"
    """
    return shorten(_written(value), LONGEST)


def _written(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(key)}: {_written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return repr(value) if isinstance(value, str) else f"{value + 0.0:.5g}"


def distinct_scores(rng: np.random.Generator, *shape: int) -> Tensor:
    """Random float32 numbers with one decimal, -3 to 3, all of a row different."""
    rows = rng.permuted(np.broadcast_to(np.arange(-30, 31), (*shape[:-1], 61)), axis=-1)
    return torch.tensor(rows[..., : shape[-1]] / 10, dtype=torch.float32)


def shares(rng: np.random.Generator, n: int) -> np.ndarray:
    """n different positive percentages that sum to 100, in random order."""
    while True:
        drawn = rng.multinomial(100, rng.dirichlet(np.full(n, 2.0)))
        if drawn.min() > 0 and len(set(drawn)) == n:
            return drawn
