"""What every augmentation is: a random change to a batch, which may ask for other rows of the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from ..calls import check_bound
from ..errors import InputError
from ..forms import Form
from ..values import printed_call, snake_case
from .draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.parts import Part
    from ..objectives import Objective


T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where the rows of a batch come from: the training part, what a row looks like, how many classes there are."""

    part: Part
    form: Form
    num_classes: int = 0  # 0: labels are numbers


@dataclass(frozen=True)
class Batch:
    """Rows on their way to the network, as the augmentations so far have changed them."""

    inputs: Tensor
    targets: Tensor
    draws: Draws
    source: Source
    others: Callable[[Tensor], Batch]  # other rows of the training part, as far on their way as these

    def with_inputs(self, inputs: Tensor) -> Batch:
        """Return the batch with its inputs changed."""
        return replace(self, inputs=inputs)


@dataclass(frozen=True, repr=False)
class Augmentation:
    """A random change to a batch. Abstract: subclasses give `change`, or `apply` where inputs alone are not enough."""

    kinds: ClassVar[tuple[str, ...]] = ("image",)  # of data, that it changes
    changes: ClassVar[str] = "images"

    def check(self, source: Source, objective: Objective) -> None:
        """Raise unless rows are what this changes, and the objective takes what labels become."""
        del objective
        if source.form.kind not in self.kinds:
            raise InputError(f"{self!r} changes {self.changes}; the data are of the kind {source.form.kind}, leave augment out")

    def change(self, x: Tensor, draws: Draws) -> Tensor:
        """Return the changed inputs."""
        raise NotImplementedError

    def apply(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        return batch.with_inputs(self.change(batch.inputs, batch.draws))

    def __repr__(self) -> str:
        return printed_call(self)


@dataclass_transform(frozen_default=True)
def augmentation(kind: type[T]) -> type[T]:
    """Make an augmentation a frozen value of its fields; a call that cannot be is told in a line, by the name people write."""
    made: Any = dataclass(frozen=True, repr=False)(kind)
    init, name = made.__init__, snake_case(kind.__name__)

    @wraps(init)
    def checked(self: Any, *given: Any, **options: Any) -> None:
        check_bound(name, made, given, options)
        init(self, *given, **options)

    made.__init__ = checked
    return made


def as_augmentations(value: Any) -> tuple[Augmentation, ...] | None:
    """Return one augmentation or several as a tuple; None stays None."""
    if value is None:
        return None
    found: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,)
    for each in found:
        if not isinstance(each, Augmentation):
            raise InputError(f"augment must be augmentations such as (flip(), shift(2)) (got {each!r})")
    return found
