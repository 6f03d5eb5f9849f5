"""Plan: how a training is carried out on this machine. What is learned is the recipe's; a plan changes the time it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import InputError, one_of, switch, whole
from .values import printed_call

FLOAT32, TF32, BFLOAT16, FLOAT16 = "float32", "tf32", "bfloat16", "float16"
PRECISIONS = (FLOAT32, TF32, BFLOAT16, FLOAT16)
MOST_THREADS = 1024  # some thousands end the process, which cannot start them


@dataclass(frozen=True, repr=False)
class Plan:
    """How a training is carried out: the same recipe, with the same rows at every step, in less time.

    Args:
        precision: of the products in forward and backward pass. `"float32"`; `"bfloat16"`: under torch's autocast, which keeps
            weights, gradients, norms and losses in float32 (on a CPU, dense layers that are written out round large products
            only); `"tf32"`: float32 whose products on a GPU keep 10 bits of mantissa; `"float16"`: under autocast, the loss
            times a factor that follows the gradients (Micikevicius et al., 2018, arXiv:1710.03740), for GPUs that know no
            bfloat16; a step whose gradient then is not finite is left out.
        channels_last: lay images out with their channels innermost, as convolutions of CPUs and tensor cores read them.
        threads: of torch on the CPU, 1 to 1,024; None: as many as it has.
        micro_batch: rows that go through the network at once, >= 1; their gradients are added up to that of the whole batch;
            None: all of a batch.
        written_out: find the gradient of the dense layers that a network ends in by their formulas, where that can be, instead
            of recording what was done: in fewer calls the same numbers, in float32 to the last digit or two.
        checkpointing: keep of the network's blocks what goes into them, and work the rest out again on the way back (Chen et
            al., 2016, arXiv:1604.06174): less memory, about a third more arithmetic, the same gradient. Blocks are modules with
            layers of their own in an `nn.Sequential` or `nn.ModuleList`, and the runs of single layers of an `nn.Sequential`.
        compile: hand the network to `torch.compile`, which takes 5 to 40 s before the first step.
        graphs: on a CUDA device, record the network's forward and backward pass once, as CUDA graphs, and replay them: for
            small networks, whose steps are mostly launches. Batches of another size go through the network as it stands.
        prefetch: have a thread read rows that lie on disk before the step that asks for them; rows in memory are there already.

    Raises:
        InputError: a precision that is none of these, a number of threads or rows below 1; two of `checkpointing`, `compile`
            and `graphs`; `graphs` with `micro_batch`.

    >>> Plan(precision="bfloat16", channels_last=True)
    Plan(precision='bfloat16', channels_last=True)
    """

    precision: str = FLOAT32
    channels_last: bool = False
    threads: int | None = None
    micro_batch: int | None = None
    written_out: bool = True
    checkpointing: bool = False
    compile: bool = False
    graphs: bool = False
    prefetch: bool = True

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        switch("channels_last", self.channels_last)
        switch("written_out", self.written_out)
        switch("checkpointing", self.checkpointing)
        switch("compile", self.compile)
        switch("graphs", self.graphs)
        switch("prefetch", self.prefetch)
        if self.checkpointing and self.compile:
            raise InputError("a plan has checkpointing or compile, not both: torch.compile chooses itself what it keeps")
        if self.graphs and (self.checkpointing or self.compile or self.micro_batch is not None):
            raise InputError("graphs replay the network's passes as they stand: without checkpointing, compile and micro_batch")
        if self.threads is not None:
            whole("threads", self.threads, 1, MOST_THREADS)
        if self.micro_batch is not None:
            whole("micro_batch", self.micro_batch, 1)

    def __repr__(self) -> str:
        return printed_call(self, "Plan")

    def __str__(self) -> str:
        told = [self.precision]
        told += ["channels last"] if self.channels_last else []
        told += [f"{self.threads} thread{'s' * (self.threads > 1)}"] if self.threads else []
        told += [f"{self.micro_batch} row{'s' * (self.micro_batch > 1)} at once"] if self.micro_batch else []
        told += ["checkpointing"] if self.checkpointing else []
        told += ["compiled"] if self.compile else []
        told += ["CUDA graphs"] if self.graphs else []
        told += [] if self.prefetch else ["no prefetch"]
        return ", ".join(told)


AS_IT_STANDS = Plan()


def as_plan(value: Any) -> Plan | None:
    """Return the plan that a plan or its text stands for; None, or `"auto"`, is None: what suits task and machine.

    >>> as_plan("Plan(threads=1)")
    Plan(threads=1)
    """
    from .calls import read_call

    if value is None or value == "auto":
        return None
    example = "Plan(precision='bfloat16')"
    made = read_call(value, {"Plan": Plan}, what="plan", example=example) if isinstance(value, str) else value
    if not isinstance(made, Plan):
        raise InputError(f"a plan is one such as Plan(precision='bfloat16'), its text, or 'auto' (got {value!r})")
    return made
