"""The command line: verbs only, no logic. Heavy imports wait until the arguments have been checked."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import InputError, Interrupted, MissingExtraError

OK, WRONG_INPUT, NOT_REACHED, STOPPED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 wrong input, 3 target not reached, 130 stopped by Ctrl-C."""
    from .app import app

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(app(args=arguments, prog_name="steepest", standalone_mode=False) or OK)
    except (InputError, MissingExtraError) as error:
        return _say(str(error), WRONG_INPUT)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        return OK
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _say(_usage(error), WRONG_INPUT)


def entry() -> None:
    """Start from the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as clean as Ctrl-C
    sys.exit(main())


@contextmanager
def saying_how_to_go_on() -> Iterator[None]:
    """Turn an interruption into its line and exit code here: typer would swallow the line."""
    import typer

    try:
        yield
    except Interrupted as stop:
        raise typer.Exit(_say(str(stop), STOPPED)) from None


def _say(message: str, code: int) -> int:
    """Print one line on stderr, whatever the message holds."""
    print("steepest: " + " ".join(message.split()), file=sys.stderr, flush=True)
    return code


def _usage(error: Exception) -> str:
    """Return typer's complaint about the arguments in one line, with the nearest option."""
    from ..errors import nearest

    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "steepest"
    option = getattr(error, "option_name", None)
    if option is not None and context is not None and type(error).__name__ == "NoSuchOption":
        known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        close = nearest(option, known)
        message = f"no such option {option}" + (f"; did you mean {close}?" if close else "")
    return f"{message} (see {command} --help)"
