"""Images in files, decoded by Pillow into one array, in two passes.

The first pass reads what the heads of the files declare: sizes and colours give the array its shape, and settle whether it fits
into memory before a pixel is decoded. The second decodes each image into its place, there or in the cache on disk.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, needs, one_of
from .archives import SHARE_OF_MEMORY, free_memory, too_large
from .cache import Wanted, stored
from .cleaning import CleaningReport
from .folders import Sought
from .lines import Lines

PICTURES = Sought("image", (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"))
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")  # and no other decoder is let near a file, whatever it says it is
ORIENTATION = 0x0112  # of EXIF
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # its values -> Pillow's transpositions
BYTES_A_PIXEL = 4  # while an image is decoded


@dataclass(frozen=True)
class Head:
    """What an image declares: how high and wide it is once upright, its colours, how it is turned."""

    height: int
    width: int
    grey: bool
    deep: bool  # 16 bits a pixel
    transparent: bool
    turn: int | None

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


def is_picture(value: Any) -> bool:
    """Return whether a value is an image of Pillow's, told by its type."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def check_size(size: Any) -> tuple[int, int] | None:
    """Return the height and width that `size` means; one number is both."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair):
        raise InputError(f"size must be (height, width) in pixels, such as (32, 32) (got {size!r})")
    return pair


def decode(
    given: Sequence[Any],
    names: Sequence[str],
    report: CleaningReport,
    *,
    size: Any = None,
    channels: int | None = None,
    on_bad_row: str | None = None,
    on_disk: bool | None = False,
) -> tuple[np.ndarray | Lines, np.ndarray]:
    """Return images as one uint8 array (rows, channels, height, width), and which of the given ones its rows are.

    Args:
        given: paths, contents of files (bytes) or Pillow's images.
        names: what messages call each.
        report: takes what was done: resized, turned, left out.
        size: (height, width) that all are resized to; None: they must have one size.
        channels: 1 or 3; None: 1 where all are grey, else 3.
        on_bad_row: `"stop"` at an image that cannot be read, or `"skip"` it; None: stop, where nobody can ask for skipping.
        on_disk: whether the images of paths are decoded into the cache, and left there; None: where they would take more than
            half of the free memory.
    """
    size = check_size(size)
    one_of("on_bad_row", on_bad_row, ("stop", "skip", None))
    bad: dict[int, str] = {}
    limit = SHARE_OF_MEMORY * free_memory()
    with _pillow_quiet():
        heads = dict(_each(lambda i: _head(given[i], limit), range(len(given)), names, bad, on_bad_row))
        if not heads:
            raise InputError(f"no readable image among {len(given)}" + (f": {next(iter(bad.values()))}" if bad else ""))
        height, width = size or _common_size(heads, names)
        channels = channels or (1 if all(head.grey for head in heads.values()) else 3)
        job = _Job(given, heads, (channels, height, width), names, bad, on_bad_row)
        if too_large(job.nbytes, on_disk):
            values, kept = _cached(job)
        elif job.nbytes > limit:
            raise InputError(
                f"{len(heads):,} images of {height} x {width} take {job.nbytes:,} bytes, more than half of the free memory "
                f"({limit:,.0f}); give a smaller size (--size), or fewer images"
            )
        else:
            values, kept = np.empty((len(heads), *job.row), dtype=np.uint8), []
            for i, pixels in job.decoded():
                values[len(kept)] = pixels
                kept.append(i)
            values = values[: len(kept)]
    _tell(report, [heads[i] for i in kept], (height, width), bad)
    return values, np.array(kept, dtype=np.int64)


@dataclass
class _Job:
    """Images to be decoded, all to rows of one shape."""

    given: Sequence[Any]
    heads: dict[int, Head]
    row: tuple[int, int, int]
    names: Sequence[str]
    bad: dict[int, str]
    on_bad_row: str | None

    @property
    def nbytes(self) -> int:
        return len(self.heads) * math.prod(self.row)

    def decoded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the place and the pixels of each image that can be read, in their order."""
        return _each(self._pixels, self.heads, self.names, self.bad, self.on_bad_row)

    def _pixels(self, i: int) -> np.ndarray:
        channels, *size = self.row
        with _opened(self.given[i]) as image:
            pixels = np.asarray(_ready(image, self.heads[i], channels, (size[0], size[1])))
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _cached(job: _Job) -> tuple[Lines, list[int]]:
    """Return images decoded into the cache, now unless they are there already, and which of the given ones they are."""
    places, before = list(job.heads), set(job.bad)  # what is kept counts among the readable ones: by those an entry is named
    among = {place: i for i, place in enumerate(places)}

    def write(about: dict[str, Any]) -> Iterator[np.ndarray]:
        kept = about["kept"] = []
        for place, pixels in job.decoded():
            kept.append(among[place])
            yield pixels[None]
        about["bad"] = [[among[place], why] for place, why in job.bad.items() if place not in before]

    digest = hashlib.sha256(repr([job.row, job.on_bad_row]).encode())
    for i in job.heads:
        status = Path(job.given[i]).stat()
        digest.update(os.fsencode(Path(job.given[i]).absolute()) + f"\0{status.st_size},{status.st_mtime_ns}\n".encode())
    found = stored(Wanted(digest.hexdigest(), job.row, np.dtype(np.uint8), len(job.heads), write))
    job.bad.update((places[i], why) for i, why in found.about["bad"])
    return found.lines, [places[i] for i in found.about["kept"]]


def _each(
    work: Callable[[int], Any], which: Iterable[int], names: Sequence[str], bad: dict[int, str], on_bad_row: str | None
) -> Iterator[tuple[int, Any]]:
    """Yield what becomes of each image; what cannot be read raises one line, or is noted as bad and passed over.

    One after the other: with two or four threads, neither small nor large images were read measurably faster on two cores.
    """
    for i in which:
        try:
            yield i, work(i)
        except Exception as error:  # decoders of damaged files raise nearly anything
            why = _reason(names[i], error)
            if on_bad_row != "skip":
                hint = "; correct or remove it, or add --on-bad-row skip" if on_bad_row else ""
                raise InputError(why + hint) from None
            bad[i] = why


def _reason(name: str, error: Exception) -> str:
    """Return in one line why an image cannot be read."""
    if isinstance(error, InputError):
        return f"{name} {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name} cannot be read: {error.strerror}"
    kind = type(error).__name__
    if kind == "UnidentifiedImageError":
        return f"{name} is not a readable image (expected png, jpeg, bmp, webp or gif)"
    if kind == "DecompressionBombError":
        return f"{name} promises too many pixels: it is damaged, or larger than Pillow decodes ({error})"
    return f"{name} is a damaged image ({' '.join(str(error).split()) or kind})"


@contextmanager
def _opened(given: Any) -> Iterator[Any]:
    """Open an image: of a path, of bytes, or one of Pillow's as it is."""
    if is_picture(given):
        yield given
        return
    library = _pillow("Image")
    with library.open(io.BytesIO(given) if isinstance(given, bytes) else given, formats=FORMATS) as image:
        yield image


def _head(given: Any, limit: float) -> Head:
    with _opened(given) as image:
        width, height = image.size
        if not width or not height:
            raise InputError(f"is an image without pixels ({height} x {width})")
        if width * height * BYTES_A_PIXEL > limit:
            raise InputError(f"promises {height:,} x {width:,} pixels, more than half of the free memory ({limit:,.0f} bytes)")
        turn = TURNS.get(_orientation(image))
        if turn is not None and turn in (2, 4, 5, 6):  # these swap the sides
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
        transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
        return Head(height, width, grey, image.mode.startswith("I"), transparent, turn)


def _orientation(image: Any) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode it all to look behind the pixels
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # metadata that cannot be read says nothing about the pixels
        return 1


def _ready(image: Any, head: Head, channels: int, size: tuple[int, int]) -> Any:
    """Return an image upright, opaque, in 8 bits, of these channels and this size."""
    library = _pillow("Image")
    if head.turn is not None:
        image = image.transpose(library.Transpose(head.turn))
    if head.deep:
        image = library.fromarray(np.clip(np.asarray(image) // 256, 0, 255).astype(np.uint8))
    elif head.transparent:
        image = library.alpha_composite(library.new("RGBA", image.size, "white"), image.convert("RGBA"))
    wanted = "L" if channels == 1 else "RGB"
    image = image if image.mode == wanted else image.convert(wanted)
    height, width = size
    return image if image.size == (width, height) else image.resize((width, height), library.Resampling.BILINEAR)


def _common_size(heads: dict[int, Head], names: Sequence[str]) -> tuple[int, int]:
    sizes = Counter(head.size for head in heads.values())
    (common, _), *others = sizes.most_common()
    if others:
        one, other = (next(i for i, head in heads.items() if head.size == size) for size in (common, others[0][0]))
        raise InputError(
            f"images differ in size: {names[one]} is {heads[one].height} x {heads[one].width}, {names[other]} is "
            f"{heads[other].height} x {heads[other].width} (height x width); give one that all are resized to: "
            f"size={common}, or --size {common[0]}x{common[1]}"
        )
    return common


def _tell(report: CleaningReport, heads: Sequence[Head], size: tuple[int, int], bad: dict[int, str]) -> None:
    report.add("images that cannot be read", len(bad), f"left out (first: {next(iter(bad.values()), '')})")
    resized = sum(head.size != size for head in heads)
    report.add("images of another size", resized, f"resized to {size[0]} x {size[1]}")
    report.add("images lying turned", sum(head.turn is not None for head in heads), "set upright, as their EXIF says")
    report.add("images with transparency", sum(head.transparent for head in heads), "laid on white")
    report.add("images of 16 bits", sum(head.deep for head in heads), "the upper 8 kept")


@contextmanager
def _pillow_quiet() -> Iterator[None]:
    """Keep Pillow's warnings of large images and odd metadata to ourselves: sizes are checked here, against this machine."""
    _pillow("Image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def _pillow(module: str) -> Any:
    with needs("pillow", "reading images", "images"):
        return importlib.import_module(f"PIL.{module}")


def as_pictures(rows: Any, channels: int, size: tuple[int, int]) -> np.ndarray | None:
    """Return new images given as files or Pillow's images, one or many, as training images are; None: they are neither."""
    one = isinstance(rows, str | Path) or is_picture(rows)
    given = [rows] if one else list(rows) if isinstance(rows, Sequence) else []
    if not given or not all(isinstance(item, str | Path) or is_picture(item) for item in given):
        return None
    if channels not in (1, 3):
        raise InputError(f"this model reads images of {channels} channels; files have 1 or 3: pass an array")
    names = [f"image {i}" if is_picture(item) else str(item) for i, item in enumerate(given)]
    values, _ = decode(given, names, CleaningReport(), size=size, channels=channels)
    assert isinstance(values, np.ndarray)
    return values
