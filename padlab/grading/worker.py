"""The process that runs a student's functions. It is told what to run, and sends back what the functions return.

    python -m padlab.grading.worker SOCKET CPU_SECONDS

It judges nothing. It is an ordinary process, not a sandbox: the student's code can do what the user who grades can do.
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Callable
from typing import Any

from padlab.grading.messages import Channel, decode, encode

MEMORY = 4 << 30  # bytes of data
FILE_SIZE = 1 << 28  # bytes of a file that is written
TEXT = 400  # characters of an error message


def main() -> None:
    """Define functions and run them, as requests come, until the other side closes."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    for kind, most in (("CPU", int(sys.argv[2])), ("DATA", MEMORY), ("FSIZE", FILE_SIZE), ("CORE", 0)):
        limit = getattr(resource, f"RLIMIT_{kind}")
        _, allowed = resource.getrlimit(limit)
        most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(limit, (most, most))
    channel.send({"ready": True})
    function = None
    while True:
        request = channel.receive()
        if "statements" in request:
            function, reply = define(request["statements"], request["expression"])
        else:
            reply = answer(function, decode(request["arguments"]))
        channel.send({**reply, "id": request["id"]})


def define(statements: list[str], expression: str) -> tuple[Any, dict[str, Any]]:
    """Run statements in a new namespace and evaluate the expression; a statement that fails is left out.

    >>> function, reply = define(["import math", "half = math.pi / 0", "def f(x): return x + half"], "f")
    >>> callable(function), reply["failed"]
    (True, ['half = math.pi / 0: ZeroDivisionError: float division by zero'])
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "display": lambda *values, **options: None}
    failed = []
    for statement in statements:
        try:
            exec(compile(statement, "<notebook>", "exec", dont_inherit=True), namespace)
        except BaseException as error:
            failed.append(f"{statement.splitlines()[0]}: {': '.join(described(error))}"[:TEXT])
    try:
        function = eval(expression, namespace)
    except BaseException as error:
        return None, {"raised": described(error), "failed": failed}
    return function, {"callable": callable(function), "failed": failed}


def answer(function: Callable, arguments: list) -> dict[str, Any]:
    """What a function did with the arguments: {"value"}, {"raised": [class, message]} or {"unsuitable": class}.

    >>> answer(lambda x: 1 / x, [0])
    {'raised': ['ZeroDivisionError', 'division by zero']}
    """
    try:
        value = function(*arguments)
    except BaseException as error:
        return {"raised": described(error)}
    try:
        return {"value": None if value is Ellipsis else encode(value)}
    except ValueError as error:
        return {"raised": described(error)}
    except BaseException:  # of an object of any class
        return {"unsuitable": type(value).__name__}


def described(error: BaseException) -> list[str]:
    """Class and message of an exception."""
    try:
        return [type(error).__name__, str(error)[:TEXT]]
    except BaseException:  # of an exception of any class
        return [type(error).__name__, ""]


if __name__ == "__main__":
    main()
