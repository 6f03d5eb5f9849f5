"""The objective of transcripts: the probability of a text, however its characters lie among the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .core import LossFunction, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..data.targets import Targets


@dataclass(frozen=True, repr=False)
class Ctc(Objective):
    """Connectionist temporal classification: the mean over rows of `-log p(text) / characters`, nats a character.

    A network gives scores of each class at each step; class 0 is the blank. A path takes one class at every step and has the
    probability `prod_t softmax(outputs_t)[path_t]`. It spells a text when, of each run of one class, one is kept, and then no
    blanks: `a-ab` and `aa-abb` spell "aab". `p(text)` is the sum over all paths that spell it, by dynamic programming.

    Outputs are (rows, steps, classes), targets (rows, longest) with zeros at the end. A character that is no class (below 0) is
    left out of the text. A text that no path can spell, of more characters, and of equal neighbours, than there are steps, adds
    nothing; readers refuse such rows.

    Source: Graves, Fernández, Gomez, Schmidhuber, Connectionist Temporal Classification, 2006,
    https://doi.org/10.1145/1143844.1143891.

    >>> ctc(l2=1e-5)
    ctc(l2=1e-05)
    """

    def check(self, targets: Targets, num_outputs: int) -> None:
        if targets.kind != "transcription":
            raise InputError(f"{self!r} is for transcripts of recordings (kind='transcription'); the label is none")
        if num_outputs != targets.num_classes:
            raise InputError(
                f"the network gives {num_outputs} numbers a step; transcripts of {targets.num_classes - 1} characters need "
                f"{targets.num_classes}, the blank first"
            )

    def loss(self, data: Data, device: Any = "cpu") -> LossFunction:
        from torch.nn import functional as F

        def mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
            found = targets > 0
            steps = outputs.new_full((len(outputs),), outputs.shape[1]).long()  # padding is blank, surely: all steps count
            log_p_TBC = outputs.float().log_softmax(dim=-1).transpose(0, 1)
            return F.ctc_loss(log_p_TBC, targets[found], steps, found.sum(dim=1), zero_infinity=True)

        return mean_loss


ctc = Ctc
