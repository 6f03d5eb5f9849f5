"""Values written as the Python calls that make them, read back: the syntax tree is walked, and nothing is evaluated."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import InputError, listed, unknown

Names = Mapping[str, Callable[..., Any]]  # what a text may call


def read_call(text: str, names: Names, *, what: str = "function", example: str = "adamw(0.003)") -> Any:
    """Return the value of a text: calls of the given functions on numbers, strings, tuples, lists and dicts.

    >>> read_call("dict(a=(1, -2.0))", {"dict": dict})
    {'a': (1, -2.0)}
    """
    return Reading(text, names, what, example).value(parsed(text, example))


def parsed(text: str, example: str) -> ast.expr:
    """Return the syntax tree of a text that is to be read."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"expected Python such as {example} (got {text!r})") from None


def read_named(text: str, names: Names, *, what: str, example: str) -> Any:
    """Return the value of a text, in which a name alone is a call without arguments.

    >>> read_named("dict", {"dict": dict}, what="dict", example="dict(a=1)")
    {}
    """
    text = text.strip()
    return read_call(f"{text}()" if text.isidentifier() else text, names, what=what, example=example)


class Reading:
    """One reading of a text. Who reads more than calls and values overrides `value` or `called`."""

    def __init__(self, text: str, names: Names, what: str, example: str) -> None:
        self.text, self.names, self.what, self.example = text, names, what, example

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id="inf"):
                return math.inf
            case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
                return -math.inf
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Tuple(elts=items):
                return tuple(map(self.value, items))
            case ast.List(elts=items):
                return list(map(self.value, items))
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.value(k): self.value(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if all(word.arg for word in keywords):
                return self.called(name, args, keywords)
        got = ast.unparse(node)
        raise InputError(f"{self.text!r}: expected calls such as {self.example}, numbers and strings (got {got!r})")

    def called(self, name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        if name not in self.names:
            raise unknown(self.what, name, self.names)
        words = [str(word.arg) for word in keywords]
        if twice := next((word for word in words if words.count(word) > 1), None):
            raise InputError(f"{self.text}: {twice} is given twice")
        check_words(name, self.names[name], words)
        given = list(map(self.value, args))
        options = {str(word.arg): self.value(word.value) for word in keywords}
        check_bound(name, self.names[name], given, options)
        try:
            return self.names[name](*given, **options)
        except (TypeError, AttributeError) as error:
            raise InputError(f"{self.text}: {error}") from None


def check_words(name: str, function: Callable[..., Any], words: Iterable[str]) -> None:
    """Raise unless a function takes arguments of these names.

    >>> check_words("pow", pow, ["bas"])
    Traceback (most recent call last):
    steepest.errors.InputError: unknown argument of pow 'bas'; did you mean 'base'? (known: base, exp, mod)
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions of C do not tell
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for word in words:
        if word not in known:
            raise unknown(f"argument of {name}", word, known)


def check_bound(name: str, function: Callable[..., Any], given: Iterable[Any], options: Mapping[str, Any]) -> None:
    """Raise unless a function can be called so: with all that it needs, and no more than it takes.

    >>> check_bound("pow", pow, [2], {})
    Traceback (most recent call last):
    steepest.errors.InputError: pow: missing a required argument: 'exp' (it takes base, exp, mod)
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions of C do not tell
        return
    try:
        signature.bind(*given, **options)
    except TypeError as error:
        raise InputError(f"{name}: {error} (it takes {listed(signature.parameters)})") from None
