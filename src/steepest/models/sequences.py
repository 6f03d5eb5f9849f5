"""Networks for what goes on in time - texts, series, sounds - as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import InputError, between, switch, whole
from ..forms import Form
from .specs import ModelSpec, sizes

if TYPE_CHECKING:
    from torch import nn

BUCKETS = 2**15  # for runs of tokens
SUBWORDS = 2**15  # for runs of characters
WORD_RUNS = 2**17


@dataclass(frozen=True, repr=False)
class _Recurrent(ModelSpec):
    """A recurrent network: it reads step after step, and gives an answer for the whole row, or at every step.

    Args:
        width: of the state.
        layers: one on top of the other.
        dropout: between layers and before the answer, in [0, 1).
        bidirectional: read backwards, too; not for a language, where that would be looking ahead.
        embedding: numbers that stand for a token or step; None: as many as the state has.
        ngrams: of tokens, the longest run that has numbers of its own beside those of its last token, >= 1.
        buckets: how many places the runs of each length share.
    """

    width: int = 128
    layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = False
    embedding: int | None = None
    ngrams: int = 1
    buckets: int = BUCKETS
    cell: ClassVar[str]

    @property
    def answers_each_step(self) -> bool:
        return True

    def __post_init__(self) -> None:
        for name in ("width", "layers", "ngrams", "buckets"):
            whole(name, getattr(self, name), 1)
        if self.embedding is not None:
            whole("embedding", self.embedding, 1)
        between("dropout", self.dropout, 0, 1, open_end=True)
        switch("bidirectional", self.bidirectional)

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .recurrent import Recurrent

        _check(self, form)
        if form.kind == "language" and self.bidirectional:
            raise InputError("what comes next cannot be read backwards; leave bidirectional out")
        return Recurrent(
            form, self.cell, self.width, self.layers, num_outputs, dropout=self.dropout, bidirectional=self.bidirectional,
            embedding=self.embedding or self.width, ngrams=self.ngrams, buckets=self.buckets,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Rnn(_Recurrent):
    """The plain recurrent network, `h <- tanh(W x + U h + b)` (Elman, 1990). Args as for `lstm`.

    >>> rnn(64)
    rnn(width=64)
    """

    cell: ClassVar[str] = "rnn"


@dataclass(frozen=True, repr=False)
class Lstm(_Recurrent):
    """Long short-term memory: gates decide what the state keeps (Hochreiter, Schmidhuber, 1997).

    Args:
        width: of the state.
        layers: one on top of the other.
        dropout: of runs of tokens, of what is read, between layers and before the answer, in [0, 1).
        bidirectional: read backwards, too.
        embedding: numbers that stand for a token or step; None: as many as the state has.
        ngrams: of tokens, the longest run that has numbers of its own beside those of its last token, >= 1. Runs of four
            characters brought the loss of a language model from 2.25 to 1.82 nats in the same 200 steps.
        buckets: how many places the runs of each length share.

    >>> lstm(128, layers=2)
    lstm(layers=2)
    """

    cell: ClassVar[str] = "lstm"


@dataclass(frozen=True, repr=False)
class Gru(_Recurrent):
    """The gated recurrent unit (Cho et al., 2014, arXiv:1406.1078). Args as for `lstm`.

    >>> gru(bidirectional=True)
    gru(bidirectional=True)
    """

    cell: ClassVar[str] = "gru"


@dataclass(frozen=True, repr=False)
class Transformer(ModelSpec):
    """Layers of attention, each position over all others (of a language: over those before it), and small networks between.

    Norms come first (Xiong et al., 2020, arXiv:2002.04745), positions turn queries and keys (Su et al., 2021,
    arXiv:2104.09864), and the layers that write into the stream begin at `1 / sqrt(2 * layers)` of their scale (Radford et
    al., 2019).

    Args:
        width: of the stream, a multiple of `heads`.
        layers: of attention and network.
        heads: attention patterns a layer.
        dropout: of runs of tokens, and of what each layer adds, in [0, 1).
        ngrams: see `lstm`.
        buckets: see `lstm`.
        shared: all layers have the weights of one (Lan et al., ALBERT, 2020, arXiv:1909.11942): as slow, and as many times
            smaller.

    Source: Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762.

    >>> transformer(width=64, layers=2)
    transformer(width=64, layers=2)
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    dropout: float = 0.0
    ngrams: int = 1
    buckets: int = BUCKETS
    shared: bool = False

    @property
    def answers_each_step(self) -> bool:
        return True

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "ngrams", "buckets"):
            whole(name, getattr(self, name), 1)
        between("dropout", self.dropout, 0, 1, open_end=True)
        switch("shared", self.shared)
        if self.width % (2 * self.heads):
            raise InputError(f"width must be a multiple of twice the heads (got {self.width} and {self.heads} heads)")

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .attention import Transformer as Network

        _check(self, form)
        return Network(
            form, self.width, self.layers, self.heads, num_outputs, dropout=self.dropout, ngrams=self.ngrams,
            buckets=self.buckets, shared=self.shared,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class BagOfWords(ModelSpec):
    """A sum of what is learned of each word, of the way it is spelled, and of each run of 2 to `ngrams` words.

    `outputs = bias + sum over words of f / sqrt(number of words)`, and of a word
    `f = word[number] + sum over grams of gram[hash] / sqrt(number of grams) + sum over runs that end with it of run[hash]`,
    where grams are the runs of 3 to 5 characters of `<word>`. A word that training has not seen is known by its grams. Every
    table begins at zero where there is no width.

    Args:
        width: numbers a word, which one linear layer reads; None: tables hold the outputs themselves, a linear model.
        ngrams: the longest run of words that has numbers of its own, >= 1.
        subwords: how many places grams share, >= 1; 0: spelling is not read, and words the vocabulary lacks are all one.
        buckets: how many places runs of words of each length share.
        dropout: share of the words left out in training, in [0, 1) (Iyyer et al., 2015).

    Source: Joulin et al., Bag of Tricks for Efficient Text Classification, 2016, arXiv:1607.01759; of the grams, Bojanowski et
    al., Enriching Word Vectors with Subword Information, 2017, arXiv:1607.04606.

    >>> bag_of_words(ngrams=2)
    bag_of_words(ngrams=2)
    """

    width: int | None = None
    ngrams: int = 3
    subwords: int = SUBWORDS
    buckets: int = WORD_RUNS
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width is not None:
            whole("width", self.width, 1)
        whole("subwords", self.subwords, 0)
        for name in ("ngrams", "buckets"):
            whole(name, getattr(self, name), 1)
        between("dropout", self.dropout, 0, 1, open_end=True)

    @property
    def reads_spelling(self) -> bool:
        return self.subwords > 0

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .texts import BagOfWords as Network

        if form.kind != "text":
            raise InputError(f"bag_of_words reads texts; the data are of the kind {form.kind}")
        return Network(
            form, self.width, num_outputs, ngrams=self.ngrams, subwords=self.subwords, buckets=self.buckets,
            dropout=self.dropout,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class TextCnn(ModelSpec):
    """Filters over 2, 3, 4, ... words in a row; of each the strongest answer anywhere in the text, then one linear layer.

    Args:
        width: numbers a word.
        filters: of each length.
        lengths: how many words in a row the filters see.
        dropout: of what is learned of words, and of the answers, in [0, 1).

    Source: Kim, Convolutional Neural Networks for Sentence Classification, 2014, arXiv:1408.5882.

    >>> text_cnn(filters=50)
    text_cnn(filters=50)
    """

    width: int = 128
    filters: int = 100
    lengths: tuple[int, ...] = (2, 3, 4)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        whole("width", self.width, 1)
        whole("filters", self.filters, 1)
        object.__setattr__(self, "lengths", sizes("lengths", self.lengths))
        whole("the number of lengths", len(self.lengths), 1)
        between("dropout", self.dropout, 0, 1, open_end=True)

    def network(self, form: Form, num_outputs: int) -> nn.Module:
        from .texts import TextCnn as Network

        if form.kind != "text":
            raise InputError(f"text_cnn reads texts; the data are of the kind {form.kind}")
        if (longest := max(self.lengths)) > form.shape[0]:
            raise InputError(
                f"text_cnn(lengths={self.lengths}) reads {longest} words in a row; texts here have {form.shape[0]}"
            )
        return Network(form, self.width, self.filters, self.lengths, num_outputs, self.dropout)


def _check(spec: _Recurrent | Transformer, form: Form) -> None:
    if not form.is_sequence:
        raise InputError(f"{spec!r} reads sequences (texts, series, sounds); the data are of shape {form.shape}")
    if spec.ngrams > 1 and not form.is_tokens:
        raise InputError(f"{spec!r}: ngrams are runs of tokens; {form.kind} has none, leave them out")


rnn = Rnn
lstm = Lstm
gru = Gru
transformer = Transformer
bag_of_words = BagOfWords
text_cnn = TextCnn
