"""Where data come from by name: the built-in sets, those to download, and files; with nothing but the standard library.

The command line answers a wrong name or an unreadable file from here, before anything heavy is imported.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, nearest, reason_of, unknown

# name -> scikit-learn's loader, what a race on it must reach
BUILTINS = {
    "digits": ("load_digits", "accuracy >= 0.97"),
    "breast-cancer": ("load_breast_cancer", "accuracy >= 0.95"),
    "wine": ("load_wine", "accuracy >= 0.95"),
    "iris": ("load_iris", "accuracy >= 0.9"),
    "diabetes": ("load_diabetes", "r2 >= 0.4"),
}


@dataclass(frozen=True)
class Remote:
    """A file on the internet: where it lies (addresses to try in turn), its size, and what its content must hash to."""

    addresses: tuple[str, ...]
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.addresses[0].rpartition("/")[2]


def _idx(bases: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[Remote, ...]:
    return tuple(Remote(tuple(f"{base}/{name}-ubyte.gz" for base in bases), size, sha256) for name, size, sha256 in files)


# name -> its files. The SHA-256 are those of the files with the sizes and MD5 sums that the makers publish; of MNIST, whose own
# page hands out nothing any more, the copies that PyTorch's and TensorFlow's data sets use.
DOWNLOADS = {
    "mnist": _idx(
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        ("train-images-idx3", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion-mnist": _idx(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        ("train-images-idx3", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "cifar-10": (
        Remote(
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
}


def download_folder(name: str) -> Path:
    """Return where a set of `DOWNLOADS` is kept."""
    return cache_folder("data") / name


def cache_folder(name: str) -> Path:
    """Return a folder for what can be had again: in `STEEPEST_CACHE`, else in `~/.cache/steepest`."""
    try:
        base = os.environ.get("STEEPEST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "steepest"
        return Path(base).expanduser() / name
    except RuntimeError as error:
        raise InputError(f"no folder to keep data in ({error}); name one with STEEPEST_CACHE") from None


def is_download(source: str) -> bool:
    """Return whether a name means a set to download; a file or folder of that name here comes first."""
    return source in DOWNLOADS and not Path(source).exists()


def downloaded(name: str) -> Path:
    """Return the folder of a downloaded set, or raise, saying how to get it."""
    folder = download_folder(name)
    if not all((folder / remote.name).is_file() for remote in DOWNLOADS[name]):
        raise InputError(f"{name} is not downloaded yet (looked in {folder}): steepest download {name}")
    return folder


MOST_TIMES, SMALL = 200, 2**26  # how much a packed file may hold: so many times its size, or so many bytes
MAX_PATH = 4_000  # characters; beyond, no file system takes it


def _check_name(name: str) -> None:
    """Raise where a name cannot be printed or kept."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InputError(f"the name {name!r} is not UTF-8, and could not be kept in a record; rename it")


def bare_name(path: str | Path) -> str:
    """Return the name of a file without its endings, which records call its data.

    >>> bare_name("data/prices.csv.gz")
    'prices'
    """
    return Path(path).name.removesuffix(".gz").rsplit(".", 1)[0]


def read_bytes(path: str | Path) -> bytes:
    """Return a file's content, unpacked when it is gzipped; every failure is one line."""
    path = Path(path)
    _check_name(path.name)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(_no_such_file(path)) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; expected a file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None
    if not content:
        raise InputError(f"{path} is empty (0 bytes)")
    if content[:2] == b"\x1f\x8b":
        return _unpacked(path, content)
    if path.suffix == ".gz":
        raise InputError(f"{path} ends in .gz but is not a gzip file (it begins with {content[:2]!r})")
    return content


def most_unpacked(packed: int) -> int:
    """Return how many bytes a packed file of this size may hold: beyond, it is made to fill the memory."""
    return max(MOST_TIMES * packed, SMALL)


def _unpacked(path: Path, content: bytes) -> bytes:
    """Return what a gzip file holds, up to what data can be."""
    most = most_unpacked(len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            found = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); copy or download it again") from None
    if len(found) > most:
        raise InputError(
            f"{path}: {len(content):,} bytes unpack to more than {most:,}, which data hardly do; unpack it if you trust it"
        )
    return found


def _no_such_file(path: Path, missing: str = "no such file") -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"{missing}: {path}"
    close = nearest(path.name, names)
    return f"{missing}: {path}" + (f"; did you mean {path.parent / close}?" if close else "")


def check_source(source: str) -> None:
    """Raise unless `source` names a built-in or downloaded set, a folder, a readable file that is not empty, or
    `file.py:function`.
    """
    if source in BUILTINS:
        return
    _check_name(source)
    if is_download(source):
        downloaded(source)
        return
    path = Path(source.rpartition(":")[0]) if ".py:" in source else Path(source)
    bare = not path.suffix and len(path.parts) == 1
    if bare and len(source) <= MAX_PATH and "\0" not in source and not path.exists():
        raise InputError(f"{unknown('task', source, (*BUILTINS, *DOWNLOADS))}; nor is it a file")
    check_path(path)
    if path.suffix == ".py" and ".py:" not in source:
        raise InputError(f"{source} is a file of Python; name the function in it that returns a Task: {source}:function")


def check_path(path: Path, missing: str = "no such file") -> None:
    """Raise unless `path` is a folder or a file, readable and not empty."""
    name = str(path)
    _check_name(name)
    if len(name) > MAX_PATH or "\0" in name:
        raise InputError(f"expected the name of a task or file (got {name[:40]!r}..., {len(name)} characters)")
    if path.is_dir():
        _check_folder(path)
        return
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device; save what comes from it in a file, and name that")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes)")
    except FileNotFoundError:
        raise InputError(_no_such_file(path, missing)) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None


def _check_folder(path: Path) -> None:
    try:
        os.scandir(path).close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None
