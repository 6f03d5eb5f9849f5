"""What goes wrong, said once and clearly: what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

__all__ = [
    "InputError",
    "Interrupted",
    "MissingExtraError",
    "at_least",
    "between",
    "blaming",
    "check_callable",
    "check_seed",
    "cut",
    "listed",
    "nearest",
    "needs",
    "one_of",
    "positive",
    "shown",
    "switch",
    "unknown",
    "whole",
]


class InputError(ValueError):
    """The input is wrong. The message is one line a person can act on; the command line exits with 2."""


class MissingExtraError(ImportError):
    """An optional part is not installed; the message says what to install."""


@contextmanager
def needs(package: str, what: str, extra: str) -> Iterator[None]:
    """Say what to install where an import of an optional package fails.

    >>> with needs("nowhere", "explanation", "explain"):
    ...     import nowhere
    Traceback (most recent call last):
    steepest.errors.MissingExtraError: explanation needs nowhere: pip install 'steepest[explain]'
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{what} needs {package}: pip install 'steepest[{extra}]'") from error


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after what was finished had been kept; the message says how to go on, where `resumable`."""

    def __init__(self, message: str, *, resumable: bool = False, by_scheduler: bool = False) -> None:
        super().__init__(message)
        self.resumable, self.by_scheduler = resumable, by_scheduler


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Turn whatever code of the caller's raises into one line that names it; the original error stays its cause.

    >>> with blaming("the model function"):
    ...     1 / 0
    Traceback (most recent call last):
    steepest.errors.InputError: the model function failed: ZeroDivisionError: division by zero
    """
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except (Exception, SystemExit) as error:
        reason = type(error).__name__ + (f": {first_line(error)}" if str(error).strip() else "")
        raise InputError(f"{what} failed: {reason}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def reason_of(error: BaseException) -> str:
    """Return what the system says of a file, or an error's first line where it says nothing."""
    return getattr(error, "strerror", None) or first_line(error)


SHOWN = 40  # characters of a value in a message
COMPARED = 200  # characters of names that may be meant: the time goes with their square


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted where it is text, and cut where it is long.

    >>> shown("x" * 50)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'"
    """
    if isinstance(value, str):
        return repr(cut(value))
    return cut(repr(value))


def cut(text: str, most: int = SHOWN) -> str:
    """Return a text, or how it begins where it is long."""
    return text if len(text) <= most else text[:most] + "…"


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names in a row, the first ones where there are many.

    >>> listed("abcd", 2)
    'a, b and 2 more'
    """
    every = [cut(str(name)) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None when nothing is close.

    >>> nearest("adamm", ["adam", "sgd"])
    'adam'
    """
    names = list(known)
    lowered = {candidate[:COMPARED].lower(): candidate for candidate in names}
    found = difflib.get_close_matches(str(name)[:COMPARED].lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def unknown(what: str, name: object, known: Iterable[str], listing: int = 12) -> InputError:
    """Return the error for a name that is not among the known ones, naming the nearest.

    >>> print(unknown("recipe", "adamm", ["adam", "sgd"]))
    unknown recipe 'adamm'; did you mean 'adam'? (known: adam, sgd)
    """
    names = list(known)
    close = nearest(name, names)
    hint = f"; did you mean {shown(close)}?" if close else ""
    return InputError(f"unknown {what} {shown(str(name))}{hint} (known: {listed(names, listing)})")


def positive(name: str, value: float) -> None:
    """Raise unless `value` is a finite number above zero.

    >>> positive("lr", -0.1)
    Traceback (most recent call last):
    steepest.errors.InputError: lr must be > 0 (got -0.1); did you mean 0.1?
    """
    if _is_number(value) and 0 < value < float("inf"):
        return
    hint = f"; did you mean {-value}?" if _is_number(value) and -float("inf") < value < 0 else ""
    raise InputError(f"{name} must be > 0 (got {value!r}){hint}")


def at_least(name: str, value: float, low: float) -> None:
    """Raise unless `value` is a finite number of at least `low`."""
    if not (_is_number(value) and low <= value < float("inf")):
        raise InputError(f"{name} must be >= {low} (got {value!r})")


def whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise unless `value` is a whole number of at least `low` (and at most `high`).

    >>> whole("folds", 2.5, 2)
    Traceback (most recent call last):
    steepest.errors.InputError: folds must be a whole number >= 2 (got 2.5)
    """
    number = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else low - 1
    if number < low or (high is not None and number > high):
        bounds = f">= {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} must be a whole number {bounds} (got {value!r})")


def one_of(name: str, value: object, known: Sequence[str | None]) -> None:
    """Raise unless `value` is one of a few known ones.

    >>> one_of("eps_mode", "insid", ("outside", "inside"))
    Traceback (most recent call last):
    steepest.errors.InputError: eps_mode must be 'outside' or 'inside' (got 'insid'); did you mean 'inside'?
    """
    choices, quoted = list(known), list(map(repr, known))
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        close = nearest(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) else None
        hint = f"; did you mean {close!r}?" if close else ""
        raise InputError(f"{name} must be {', '.join(quoted[:-1])} or {quoted[-1]} (got {value!r}){hint}")


def check_callable(what: str, function: object, example: str) -> None:
    """Raise unless what the caller gave can be called; a class is asked for one of it.

    >>> check_callable("objective", 3, "a function (outputs, targets) -> loss")
    Traceback (most recent call last):
    steepest.errors.InputError: objective must be a function (outputs, targets) -> loss (got 3)
    """
    if isinstance(function, type):
        raise InputError(f"{what} {function.__name__} is a class; give one of it, such as {function.__name__}()")
    if not callable(function):
        raise InputError(f"{what} must be {example} (got {function!r})")


def switch(name: str, value: object) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False (got {value!r})")


MAX_SEED = 2**32 - 1  # as NumPy and scikit-learn have it


def check_seed(seed: object, name: str = "seed") -> None:
    """Raise unless `seed` is a whole number from 0 to 2**32 - 1."""
    whole(name, seed, 0, MAX_SEED)


def between(name: str, value: float, low: float, high: float, *, open_start: bool = False, open_end: bool = False) -> None:
    """Raise unless `low <= value <= high` (`low <` with `open_start`, `< high` with `open_end`)."""
    reached = _is_number(value) and (low < value if open_start else low <= value)
    if not (reached and (value < high if open_end else value <= high)):
        brackets = "(" if open_start else "[", ")" if open_end else "]"
        raise InputError(f"{name} must be in {brackets[0]}{low}, {high}{brackets[1]} (got {value!r})")


def _is_number(value: object) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:  # a whole number too large for any step
        return False
    return True
