"""The command line: verbs only, no logic. Heavy imports wait until the arguments have been checked."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

from ..errors import InputError, Interrupted, MissingExtraError, reason_of
from ..stopping import Stops

OK, WRONG_INPUT, NOT_REACHED, PREEMPTED, STOPPED = 0, 2, 3, 75, 130


class _Stop:
    """The exit code of a stop: who asked for it, Ctrl-C or a scheduler; and whether this process ends with it."""

    code = STOPPED
    is_last = False
    told = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 2 wrong input, 3 target not reached, 75 stopped and can be gone on with, or stopped by a scheduler (SIGTERM),
    130 stopped by Ctrl-C with nothing to go on with.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        from .app import app

        _Stop.told = False
        code = int(app(args=arguments, prog_name="steepest", standalone_mode=False) or OK)
        sys.stdout.flush()
        return _stopped(KeyboardInterrupt()) if code == STOPPED and not _Stop.told else code  # typer has swallowed it
    except (InputError, MissingExtraError) as error:
        return _say(str(error), WRONG_INPUT)
    except BrokenPipeError:
        return _unread()
    except SystemExit as stop:  # typer's answer to a reader that went away
        if isinstance(stop.__context__, BrokenPipeError):
            return _unread()
        raise
    except OSError as error:  # a full disk, say
        sys.stdout = None  # type: ignore[assignment]  # what cannot be written is not to be tried again at exit
        where = f": {error.filename}" if error.filename else ""
        return _say(f"cannot write ({reason_of(error)}{where}); what was recorded before is kept", WRONG_INPUT)
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt) or type(error).__name__ == "Abort":
            return _stopped(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())  # type: ignore[attr-defined]
            return OK
        if not hasattr(error, "format_message"):
            raise
        return _say(_usage(error), WRONG_INPUT)


def _unread() -> int:
    """Return the code of a command whose reader went away, as `| head` does; nothing more is written, at exit neither."""
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return OK


def entry() -> None:
    """Start from the console script."""
    signal.signal(signal.SIGTERM, _terminate)  # a scheduler's stop is as clean as Ctrl-C
    Stops.handlers.add(_terminate)
    _Stop.is_last = True
    if isinstance(sys.stdout, TextIOWrapper):  # a name or text that the terminal cannot show is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())


def _terminate(*_: object) -> None:
    _Stop.code = PREEMPTED
    raise KeyboardInterrupt


@contextmanager
def saying_how_to_go_on(kept: str = "") -> Iterator[None]:
    """Turn an interruption into its line and exit code here: typer would swallow the line. `kept` is said beside it."""
    import typer

    try:
        yield
    except Interrupted as stop:
        raise typer.Exit(_stopped(stop, kept)) from None


def _stopped(stop: BaseException, kept: str = "") -> int:
    """Say that and how a verb was stopped; in a process of its own, further presses change nothing from here on."""
    if _Stop.is_last:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Stop.told = True
    said = str(stop) if isinstance(stop, Interrupted) else "stopped; nothing of it was kept"
    goes_on = isinstance(stop, Interrupted) and (stop.resumable or stop.by_scheduler)
    code = PREEMPTED if goes_on else _Stop.code
    return _say("; ".join(part for part in (said, kept) if part), code)


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
