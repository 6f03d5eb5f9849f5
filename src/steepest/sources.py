"""Where data come from by name: the built-in sets and files, checked with nothing but the standard library.

The command line answers a wrong name or an unreadable file from here, before anything heavy is imported.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from .errors import InputError, nearest, unknown

# name -> scikit-learn's loader, what a race on it must reach
BUILTINS = {
    "digits": ("load_digits", "accuracy >= 0.97"),
    "breast-cancer": ("load_breast_cancer", "accuracy >= 0.95"),
    "wine": ("load_wine", "accuracy >= 0.95"),
    "iris": ("load_iris", "accuracy >= 0.9"),
    "diabetes": ("load_diabetes", "r2 >= 0.4"),
}


MAX_PATH = 4_000  # characters; beyond, no file system takes it


def read_bytes(path: str | Path) -> bytes:
    """Return a file's content, unpacked when it is gzipped; every failure is one line."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(_no_such_file(path)) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; expected a file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if not content:
        raise InputError(f"{path} is empty (0 bytes)")
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is a damaged gzip file ({error}); copy or download it again") from None
    elif path.suffix == ".gz":
        raise InputError(f"{path} ends in .gz but is not a gzip file (it begins with {content[:2]!r})")
    return content


def _no_such_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"no such file: {path}"
    close = nearest(path.name, names)
    return f"no such file: {path}" + (f"; did you mean {path.parent / close}?" if close else "")


def check_source(source: str) -> None:
    """Raise unless `source` names a built-in set, a folder, a readable file that is not empty, or `file.py:function`."""
    if source in BUILTINS:
        return
    path = Path(source.rpartition(":")[0]) if ".py:" in source else Path(source)
    if len(source) > MAX_PATH or "\0" in source:
        raise InputError(f"expected the name of a task or file (got {source[:40]!r}..., {len(source)} characters)")
    if path.is_dir():
        return
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        raise InputError(f"{unknown('task', source, BUILTINS)}; nor is it a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes)")
    except FileNotFoundError:
        raise InputError(_no_such_file(path)) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
