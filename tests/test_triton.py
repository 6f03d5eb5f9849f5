"""Triton kernels without a device: in Triton's interpreter against the definition, and compiled for one that is not here.

Both run in processes of their own, because the interpreter is chosen by an environment variable when Triton is imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

import steepest
from steepest.kernels import gpu
from steepest.kernels.trace import trace
from steepest.kernels.tritonsource import ARRAYS, source
from steepest.rules import Parameter
from tests.executions import apart, leave
from tests.test_kernels import RULES
from tests.words import WORDS

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

ALL = RULES | WORDS
# of the interpreter, which takes as long for one number as for a thousand
CHUNK, BLOCK = 512, 256
# a whole chunk, whole blocks after it, and a rest; the others are a rest alone
SHAPES = [(0,), (), (7,), (5, 3), (2, 3, 4, 5), (CHUNK + BLOCK + 9,)]
FEW = [(7,), (5, 3), (0,), (3, 300)]
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
STEPS, ROUNDINGS = 3, 50


def interpret() -> None:
    """Make this process one in which kernels run in Triton's interpreter, over tensors of the CPU."""
    os.environ["TRITON_INTERPRET"] = "1"
    gpu.KIND, gpu.CHUNK, gpu.BLOCK, gpu.OF_UNITS = "cpu", CHUNK, BLOCK, CHUNK
    torch.set_num_threads(1)
    from triton.runtime import interpreter

    usual = interpreter._patch_lang_tensor  # numpy 2.4 no longer takes an array of one for a number

    def patched(tensor: Any, scope: Any) -> None:
        usual(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


def _pool(begin: Callable[[], None]) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=begin)


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., Any]]:
    """A function that calls another where kernels are interpreted."""
    with _pool(interpret) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


@pytest.fixture(scope="module")
def compiling() -> Iterator[Callable[..., Any]]:
    """A function that calls another where kernels are compiled."""
    with _pool(_nothing) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def _nothing() -> None:
    os.environ.pop("TRITON_INTERPRET", None)


def _odd(value: float) -> Callable[[Tensor], Tensor]:
    def change(g: Tensor) -> Tensor:
        if g.numel() > 2:
            g.view(-1)[1] = value
        return g

    return change


def _across(g: Tensor) -> Tensor:
    return g.mT.contiguous().mT if g.ndim > 1 else g


def distance(name: str, dtype: str, shapes: list[tuple[int, ...]], odd: float | None = None, across: bool = False) -> float:
    """Return how far interpreted kernels are from the definition, in roundings."""
    change = _across if across else None if odd is None else _odd(odd)
    return apart("Triton", ALL[name], DTYPES[dtype], shapes, change=change, steps=STEPS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in ALL if name != "everything"])
def test_interpreted_kernels_equal_the_definition(name: str, dtype: str, interpreted: Callable[..., Any]) -> None:
    assert interpreted(distance, name, dtype, SHAPES) <= ROUNDINGS


def test_all_words_together_equal_the_definition(interpreted: Callable[..., Any]) -> None:
    assert interpreted(distance, "everything", "float32", [(7,), (0,), (3, 40)]) <= ROUNDINGS


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("name", [name for name in ALL if name != "everything"])
def test_odd_gradients_give_what_the_definition_gives(name: str, value: float, interpreted: Callable[..., Any]) -> None:
    assert interpreted(distance, name, "float32", [(7,), (5, 3)], value) <= ROUNDINGS


@pytest.mark.parametrize("name", ["adam(0.01, weight_decay=0.01)", "Trust", "Compact"])
def test_gradients_laid_out_otherwise_are_read_right(name: str, interpreted: Callable[..., Any]) -> None:
    assert interpreted(distance, name, "float32", FEW, None, True) <= ROUNDINGS


# -- tables -----------------------------------------------------------------------------------------------------------


def two_tables(execution: str) -> list[Tensor]:
    """A norm over parameters of two programs and two dtypes; one has no gradient at first, and then a count of its own."""
    with pytest.MonkeyPatch.context() as patch:
        leave(execution, patch)
        torch.manual_seed(0)
        storage = torch.randn(40)
        params = [storage[1:13].view(3, 4), torch.randn(9), torch.randn(2, 600), torch.randn(5, dtype=torch.float64)]
        params = [p.requires_grad_() for p in params]
        branches = steepest.split(matrices=steepest.scale_by_adam(), rest=steepest.ema(0.8))
        rule = steepest.chain(steepest.clip_global_norm(1.0), branches, steepest.clip_global_norm(0.5), steepest.sgd(0.1))
        optimizer = steepest.Optimizer([{"params": params[:3]}, {"params": params[3:]}], rule)
        for i in range(4):
            for at, p in enumerate(params):
                p.grad = torch.randn_like(p) if i or at != 2 else None
            if i == 2:
                params[1].data = params[1].data.clone()
            optimizer.step()
        assert len(optimizer._executor._tables) == (3 if execution == "Triton" else 0)
        return [p.detach() for p in params]


def between_executions() -> list[list[Tensor]]:
    """A norm over a parameter in Triton and one that must run eagerly: it is made in one place."""
    found = []
    for execution in ("Triton", "eager"):
        with pytest.MonkeyPatch.context() as patch:
            leave(execution, patch)
            torch.manual_seed(0)
            params = [torch.randn(6, requires_grad=True), torch.randn(8, 2)[::2].requires_grad_()]
            rule = steepest.chain(steepest.clip_global_norm(0.3), steepest.adam(0.1))
            optimizer = steepest.Optimizer(params, rule)
            for _ in range(3):
                for p in params:
                    p.grad = torch.randn_like(p)
                optimizer.step()
            found.append([p.detach() for p in params])
    return found


def test_totals_span_tables(interpreted: Callable[..., Any]) -> None:
    for mine, defined in zip(interpreted(two_tables, "Triton"), interpreted(two_tables, "eager"), strict=True):
        torch.testing.assert_close(mine, defined, rtol=1e-5, atol=1e-6)
    for mine, defined in zip(*interpreted(between_executions), strict=True):
        torch.testing.assert_close(mine, defined, rtol=1e-5, atol=1e-6)


def scaled(execution: str) -> tuple[list[Tensor], list[float], list[int]]:
    """Train with a GradScaler that leaves out the first, the third and the last step; from the second it is not asked."""
    with pytest.MonkeyPatch.context() as patch:
        leave(execution, patch)
        torch.manual_seed(0)
        params = [torch.randn(5, 3, requires_grad=True), torch.randn(7, requires_grad=True)]
        rule = steepest.split(matrices=steepest.adamw(0.1, schedule=steepest.cosine(steps=9)), rest=WORDS["Distance"])
        optimizer, scaler = steepest.Optimizer(params, rule), torch.amp.GradScaler("cpu", init_scale=8.0)
        steps: list[int] = []
        for i in range(7):
            optimizer.zero_grad()
            loss = sum(((p - i) ** 2).sum() for p in params)
            scaler.scale(loss).backward()
            if i in (0, 3, 6):
                params[1].grad[2] = float("inf")  # type: ignore[index]
            if i == 2 and execution == "Triton":
                patch.setattr(steepest.Optimizer, "_unscaled", None)
            scaler.step(optimizer)
            scaler.update()
        packed = optimizer.state_dict()
        steps = [int(packed["state"][at]["step"]) for at in range(2)] + [group["updates"] for group in packed["param_groups"]]
        return [p.detach() for p in params], [float(scaler.get_scale())], steps


def test_a_grad_scaler_is_obeyed_without_being_asked(interpreted: Callable[..., Any]) -> None:
    mine, defined = interpreted(scaled, "Triton"), interpreted(scaled, "eager")
    for a, b in zip(mine[0], defined[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert mine[1:] == defined[1:]
    assert mine[2] == [4, 4, 4, 4]


def captured() -> list[list[Tensor]]:
    """Two steps, then three replays of a captured one, the launches played by a list; and five plain steps."""
    found = []
    for capturing in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            leave("Triton", patch)
            torch.manual_seed(0)
            params = [torch.randn(5, 3, requires_grad=True), torch.randn(7, requires_grad=True)]
            rule = steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.1, schedule=steepest.cosine(steps=9)))
            optimizer, launches, run = steepest.Optimizer(params, rule), [], gpu.Table.run

            def record(table: gpu.Table, phase: int, launches: list[Any] = launches) -> dict[str, Tensor]:
                launches.append((table, phase))
                return dict.fromkeys(table.program.over(phase, "all"), table.arrays["sums"][0])

            for i in range(5):
                for p in params:
                    p.grad = torch.randn_like(p)
                if capturing and i == 2:
                    patch.setattr(torch.cuda, "is_initialized", lambda: True)
                    patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
                    patch.setattr(gpu.Table, "run", record)
                    optimizer.step()
                if capturing and i >= 2:
                    optimizer.before_replay()
                    for table, phase in launches:
                        run(table, phase)
                else:
                    optimizer.step()
            assert optimizer.param_groups[0]["updates"] == 5
            found.append([p.detach() for p in params])
    return found


def test_a_captured_step_goes_on_counting(interpreted: Callable[..., Any]) -> None:
    for mine, plain in zip(*interpreted(captured), strict=True):
        assert torch.equal(mine, plain)


# -- compiling for a device that is not here --------------------------------------------------------------------------

POINTERS = {torch.int64: "*i64", torch.int32: "*i32", torch.float32: "*fp32", torch.float64: "*fp64"}


def compiled_for(rule_name: str, dtype: str, capability: int, aligned: bool, scaled: bool) -> list[str]:
    """Return the PTX of every kernel of a rule."""
    import triton
    from triton.backends.compiler import GPUTarget

    program = trace(ALL[rule_name].links(Parameter("w", (2, 2), "matrices")))
    module, options = gpu.loaded(source(program, dtype)), {"ALIGNED": aligned, "SCALED": scaled, "BLOCK": gpu.BLOCK}
    kernels = [(module[f"phase_{i}"], options) for i in range(len(program.phases))]
    kernels += [(module["finish"], {"SCALED": scaled})] if program.kept else []
    kernels += [(module["add_up"], {"SUMS": 2, "WIDTH": 3, "BLOCK": gpu.BLOCK})]
    found = []
    for kernel, constants in kernels:
        names = kernel.arg_names
        types = {name: gpu.TYPES.get(name, torch.int64) for name in ARRAYS}
        types |= {"result": torch.float64, "bounds": torch.int64, "columns": torch.int64}
        signature = {name: "constexpr" if name in constants else POINTERS[types[name]] for name in names}
        known = {(i,): constants[name] for i, name in enumerate(names) if name in constants}
        whole = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name not in constants}
        code = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=known, attrs=whole)
        made = triton.compile(code, target=GPUTarget("cuda", capability, 32), options=dict(gpu.OPTIONS))
        assert made.asm["cubin"]
        found.append(made.asm["ptx"])
    return found


@pytest.mark.parametrize("name", [name for name in ALL if name != "everything"])  # its ten phases take most of a minute
def test_every_rule_compiles_for_a_device(name: str, compiling: Callable[..., Any]) -> None:
    """And neither contracts into multiply-adds in single precision nor divides approximately."""
    for ptx in compiling(compiled_for, name, "float32", 90, True, False):
        assert not {"fma.rn.f32", "div.full", "sqrt.approx"} & set(ptx.replace("\t", " ").split(" "))


def warmed_up(rule_name: str) -> tuple[str, str]:
    """Return the reasons against a rule's kernels where only the name of a device is known, and where none is."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.driver import CudaDriver

    links = ALL[rule_name].links(Parameter("w", (2, 2), "matrices"))
    without = gpu.compiled(links, torch.float32, torch.device("cuda", 1))

    class Driver(CudaDriver):
        def __init__(self) -> None:
            self.get_current_device, self.get_current_stream = lambda: 0, lambda device: 0

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", 90, 32)

    triton.runtime.driver.set_active(Driver())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        found = gpu.compiled(links, torch.float32, torch.device("cuda", 0))
    return (found if isinstance(found, str) else ""), (without if isinstance(without, str) else "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_kernels_are_compiled_before_the_first_step(compiling: Callable[..., Any]) -> None:
    found, without = compiling(warmed_up, "Distance")
    assert not found
    assert without.startswith("Triton cannot compile here (")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["adamw(0.01, weight_decay=0.1)", "Compact", "Kept", "UnitScale"])
def test_every_dtype_and_variant_compiles(name: str, dtype: str, compiling: Callable[..., Any]) -> None:
    for capability, aligned, scaled in ((90, True, True), (80, False, False)):
        assert compiling(compiled_for, name, dtype, capability, aligned, scaled)


@pytest.mark.parametrize(("dtype", "loads"), [("float32", 8), ("bfloat16", 4), ("float64", 16)])
def test_memory_is_moved_sixteen_bytes_at_a_time(dtype: str, loads: int, compiling: Callable[..., Any]) -> None:
    """Eight numbers a thread, four memories read and three written."""
    (ptx, _) = compiling(compiled_for, "adamw(0.01, weight_decay=0.1)", dtype, 90, True, False)
    wide = "v2.b64" if dtype == "float64" else "v4.b32"
    assert ptx.count(f"ld.global.{wide}") == loads
    assert ptx.count(f"st.global.{wide}") == loads * 3 // 4
