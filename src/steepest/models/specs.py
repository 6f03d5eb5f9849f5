"""Networks as frozen values: what to build, printed as the Python that makes it; `build` makes the `nn.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError, between, one_of, switch, whole
from ..forms import PADDED, Form
from ..values import printed_call

if TYPE_CHECKING:
    from torch import nn

ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
NORMS = (None, "batch", "layer")
INITS = ("he", "orthogonal", "torch")
CONVOLUTION_INITS = ("torch", "dirac")
VIEWS = (1, 2, 6)
MAX_STAGES = 8  # each halves the image and doubles the channels


def sizes(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return whole numbers above zero as a tuple, or raise."""
    if not isinstance(values, tuple | list):
        raise InputError(f"{name} must be a tuple such as (64, 64) (got {values!r})")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} must be whole numbers above zero (got {tuple(values)!r})")
    return tuple(values)


@dataclass(frozen=True, repr=False)
class ModelSpec:
    """A network to be built once the shapes of inputs and outputs are known. Abstract: subclasses give `network`."""

    @property
    def reads_spelling(self) -> bool:
        """Whether words of a text come to it with the way they are spelled."""
        return False

    @property
    def answers_each_step(self) -> bool:
        """Whether it can answer at every step of a row."""
        return False

    def build(self, form: Form | tuple[int, ...], num_outputs: int) -> nn.Module:
        """Return a freshly initialised network for rows of this form, or of this shape (without the batch dimension)."""
        from .heads import from_last

        form = Form.of(form)
        if form.spelled and not self.reads_spelling:
            raise InputError(f"{self!r} reads words by their numbers alone; build it for the form of data.unspelled")
        if form.each_step and not self.answers_each_step:
            what = "what comes next" if form.kind == "language" else "a transcript"
            raise InputError(f"{self!r} answers once a row; {what} needs lstm(), gru(), rnn() or transformer()")
        network = self.network(form, num_outputs)
        return from_last(network, num_outputs) if form.kind == "series" else network

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        """Return the network itself; that of a series gives differences from the last value seen."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return printed_call(self)


@dataclass(frozen=True, repr=False)
class LinearModel(ModelSpec):
    """One linear layer: logistic or linear regression; of a text, over the mean of its words.

    >>> linear_model().build((4,), 3)
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=4, out_features=3, bias=True)
    )
    """

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .networks import mlp

        _fixed(self, form)
        return mlp(form, (), num_outputs)


@dataclass(frozen=True, repr=False)
class AdditiveModel(ModelSpec):
    """A sum of functions of one feature each, `b + sum_i f_i(x_i)`: every `f_i` a small network, so that it can be drawn.

    Args:
        width: hidden units of each function.

    Source: Agarwal et al., Neural Additive Models, 2021, arXiv:2004.13912.

    >>> additive_model(width=16)
    additive_model(width=16)
    """

    width: int = 32

    def __post_init__(self) -> None:
        whole("width", self.width, 1)

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .networks import Additive

        _fixed(self, form)
        if form.is_tokens:
            raise InputError(f"{self!r} reads numbers, not tokens; use linear_model() or bag_of_words()")
        return Additive(form, self.width, num_outputs)


@dataclass(frozen=True, repr=False)
class Mlp(ModelSpec):
    """A multilayer perceptron: hidden layers of these widths, each `linear -> norm -> activation -> dropout`.

    Args:
        hidden: width of each hidden layer, >= 1.
        activation: `"relu"`, `"gelu"`, `"silu"` or `"tanh"`.
        dropout: share of activations set to zero in training, in [0, 1) (Srivastava et al., 2014).
        norm: `"batch"` (Ioffe, Szegedy, 2015, arXiv:1502.03167), `"layer"` (Ba et al., 2016, arXiv:1607.06450) or None.
        residual: add what goes into a hidden layer to what comes out of it, where both are equally wide (He et al., 2016,
            arXiv:1512.03385); norms then come before the layer.
        init: of the hidden layers: `"he"`, weights from `N(0, gain^2 / inputs)`, which keeps activations and gradients at their
            scale through many layers (He et al., 2015, arXiv:1502.01852; for GELU, SiLU and tanh with the gain, and the
            random biases, of Hayou et al., 2019, arXiv:1902.06853); `"orthogonal"`, likewise, with orthogonal weights (Saxe
            et al., 2014, arXiv:1312.6120); or `"torch"`, under which they shrink. Of `n` residual blocks weights are divided
            by `n`.
        waves: how many waves each number of a table is read as, beside itself, `relu(W [sin(2 pi c x), cos(2 pi c x)] + b)`
            with frequencies `c` and weights that are learned; 0 is none (Gorishniy et al., On Embeddings for Numerical
            Features in Tabular Deep Learning, 2022, arXiv:2203.05556).
        lookup: how many numbers a category is at most where it is looked up; they then begin near zero, so that categories of
            few rows stay there. None: `1.6 n^0.56` for `n` categories.
        rank: hidden layers that are wider on both sides are products of two layers with so many numbers between: fewer
            weights, and fewer products (Sainath et al., 2013, https://doi.org/10.1109/ICASSP.2013.6638949); None: whole.

    >>> mlp((64, 32), dropout=0.1)
    mlp(hidden=(64, 32), dropout=0.1)
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    dropout: float = 0.0
    norm: str | None = None
    residual: bool = False
    init: str = "he"
    waves: int = 0
    lookup: int | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        one_of("init", self.init, INITS)
        whole("waves", self.waves, 0)
        for name in ("lookup", "rank"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)
        object.__setattr__(self, "hidden", sizes("hidden", self.hidden))
        between("dropout", self.dropout, 0, 1, open_end=True)
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)} (got {self.activation!r})")
        if self.norm not in NORMS:
            raise InputError(f"norm must be 'batch', 'layer' or None (got {self.norm!r})")

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .networks import mlp

        _fixed(self, form)
        if self.waves and form.kind != "table":
            raise InputError(
                f"{self!r} reads numbers of tables as waves; the data are of the kind {form.kind}, leave waves out"
            )
        return mlp(
            form, self.hidden, num_outputs, activation=self.activation, dropout=self.dropout, norm=self.norm,
            residual=self.residual, init=self.init, waves=self.waves, lookup=self.lookup, rank=self.rank,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class ResidualCnn(ModelSpec):
    """A small residual network for images and spectrograms: a stem, then stages of convolution, pooling and residual blocks.

    Args:
        width: channels of the stem; every stage doubles them.
        stages: number of stages, 1 to 8, each halving height and width.
        blocks: a stage, each `x + relu(norm(conv(x)))`.
        dropout: before the last layer, in [0, 1).
        stochastic_depth: share of the rows that skip the last residual block in training, in [0, 1); those before it are
            skipped less, in proportion to their depth (Huang et al., 2016, arXiv:1603.09382).
        init: of the convolutions: `"torch"`, or `"dirac"`, whose first channels begin as copies of their inputs (Zagoruyko,
            Komodakis, DiracNets, 2017, arXiv:1706.00388).
        whiten: of images, begin with a fixed layer that whitens patches of 3 x 3, found from the first 1,024 rows of the
            training part (Jordan, 2024, see below).
        views: of images, how many the answer is the mean of where the network is not trained (test-time augmentation): 1; 2,
            with the mirror image; or 6, both of them moved by a pixel up and left, and down and right, too (Jordan, 2024).

    Source: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385; stages that convolve
    before they pool: Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, 2024, arXiv:2404.00498.

    >>> residual_cnn(width=32)
    residual_cnn(width=32)
    """

    width: int = 16
    stages: int = 2
    blocks: int = 1
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    init: str = "torch"
    whiten: bool = False
    views: int = 1

    def __post_init__(self) -> None:
        sizes("width, stages and blocks", (self.width, self.stages, self.blocks))
        whole("stages", self.stages, 1, MAX_STAGES)
        between("dropout", self.dropout, 0, 1, open_end=True)
        between("stochastic_depth", self.stochastic_depth, 0, 1, open_end=True)
        one_of("init", self.init, CONVOLUTION_INITS)
        switch("whiten", self.whiten)
        if self.views not in VIEWS:
            raise InputError(f"views must be 1, 2 or 6 (got {self.views!r})")

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .convolutional import FramesCnn, residual_cnn
        from .whitening import Views

        as_pictures = len(form.shape) == 2 and not form.is_tokens
        if len(form.shape) != 3 and not as_pictures:
            raise InputError(f"residual_cnn reads images (channels, height, width); the data have shape {form.shape}")
        if as_pictures and (self.whiten or self.views > 1):
            raise InputError(
                f"{self!r} whitens and views images; the data are of the kind {form.kind}, leave whiten and views out"
            )
        widths = tuple(self.width * 2**stage for stage in range(self.stages + 1))
        start = {"stochastic_depth": self.stochastic_depth, "dirac": self.init == "dirac"}
        if as_pictures:
            return FramesCnn(widths, self.blocks, num_outputs, self.dropout, padded=form.kind in PADDED, **start)
        network = residual_cnn(form.shape[0], widths, self.blocks, num_outputs, self.dropout, whiten=self.whiten, **start)
        return network if self.views == 1 else Views(network, self.views)


def _fixed(spec: ModelSpec, form: Form) -> None:
    """Raise where rows differ in length, and the network needs them equal."""
    if form.kind == "sound":
        raise InputError(f"{spec!r} reads rows of equal length; for {form.kind} use lstm(), gru(), rnn() or transformer()")


linear_model = LinearModel
additive_model = AdditiveModel
mlp = Mlp
residual_cnn = ResidualCnn
