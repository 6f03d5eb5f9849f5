"""Compiled code against the eager definition: every rule, dtype, shape and odd number; and the compiler's own troubles."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import steepest
from steepest.kernels import compiler, fused, native
from steepest.kernels.csource import source
from steepest.kernels.trace import trace
from steepest.rules import Parameter, Transform
from tests.executions import trained

RULES = {
    str(rule): rule
    for rule in (
        steepest.sgd(0.1),
        steepest.sgd(0.1, weight_decay=0.01),
        steepest.momentum(0.05, dampening=0.1, weight_decay=0.01),
        steepest.ema_momentum(0.5),
        steepest.nesterov(0.05),
        steepest.adagrad(0.1),
        steepest.adadelta(1.0),
        steepest.rmsprop(0.01),
        steepest.rmsprop(0.01, centered=True, momentum=0.9, eps=1e-3),
        steepest.adam(0.01, weight_decay=0.01),
        steepest.adam(0.01, bias_correction=False),
        steepest.adamw(0.01, weight_decay=0.1),
        steepest.amsgrad(0.01),
        steepest.adamax(0.01),
        steepest.nadam(0.01),
        steepest.radam(0.01, b2=0.6),
        steepest.lion(0.01, weight_decay=0.1),
        steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)),
        steepest.chain(steepest.clip_value(0.1), steepest.scale_by_lion(), steepest.clip_global_norm(0.5), steepest.sgd(0.1)),
        steepest.adamw(0.01, schedule=steepest.cosine(steps=10, warmup=3)),
        steepest.chain(steepest.adam(0.01), steepest.ema_weights(0.9)),
        steepest.chain(steepest.sgd(0.1), steepest.lookahead(every=2)),
        steepest.schedule_free_adamw(0.01, weight_decay=0.1),
        steepest.schedule_free_sgd(0.1),
        steepest.chain(steepest.adamw(0.01), steepest.compensated()),
        steepest.chain(steepest.adamw(0.01), steepest.stochastic_rounding(seed=3)),
        steepest.keep_state(steepest.adamw(0.01), "float32"),
        steepest.chain(steepest.scale_by_asgd(t0=2), steepest.adaptive_clip(0.1), steepest.sgd(0.1)),
        steepest.chain(steepest.adaptive_clip(0.1), steepest.keep_state(steepest.lion(0.01), "float32")),
        steepest.keep_state(
            steepest.chain(steepest.scale_by_lion(), steepest.clip_global_norm(0.5), steepest.sgd(0.1)), "bfloat16"
        ),
        steepest.adam(0.01, amsgrad=True, eps=1e-3, eps_mode="hat"),
        steepest.amsgrad(0.01, eps=1e-3, max_of_corrected=True, eps_mode="inside"),
        steepest.adamax(0.01, eps_mode="outside"),
        steepest.nadam(0.01, momentum_decay=None, weight_decay=0.1, decoupled_weight_decay=True),
        steepest.adagrad(0.1, eps=1e-3, eps_mode="inside"),
        steepest.rmsprop(0.01, eps=1e-3, eps_mode="inside", centered=True, momentum=0.9, lr_inside=True),
        steepest.asgd(0.1, t0=2),
        steepest.rprop(0.01),
        steepest.lars(1.0, weight_decay=0.1),
        steepest.lamb(0.01, weight_decay=0.1),
        steepest.mars(0.01),
        steepest.prodigy(d0=1e-2, weight_decay=0.1),
        steepest.dadapt_adam(d0=1e-2, weight_decay=0.1, decoupled_weight_decay=True),
        steepest.sophia(0.01, eps=1e-3),
        steepest.chain(steepest.maximize(), steepest.centralize_gradients(), steepest.sgd(0.1)),
        steepest.chain(steepest.adaptive_clip(0.1), steepest.sgd(0.1)),
        steepest.chain(steepest.add_noise(0.3), steepest.sgd(0.1)),
        steepest.chain(steepest.proximal_l1(0.5), steepest.sgd(0.1)),
        steepest.chain(steepest.clamp_weights(-0.5, 0.25), steepest.sgd(0.1)),
    )
}
SHAPES = [(0,), (), (1,), (7,), (33,), (5, 3), (2, 3, 4, 5), (70_001,)]
# how far a parameter may be off after STEPS steps, in roundings of its dtype
STEPS, ROUNDINGS = 5, 4


def parameters(rule: steepest.Rule, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]], **options: Any) -> list[Tensor]:
    """Return the parameters after a few steps."""
    return trained(rule, dtype, shapes, steps=STEPS, **options)[0]


def rounding(name: str, dtype: torch.dtype) -> float:
    """Return what the last digit of a rule's parameters, or of its state where that has fewer, is worth near 1."""
    kept = [getattr(torch, name.rsplit("'", 2)[1])] if name.startswith("keep_state") else []
    return max(torch.finfo(one).eps for one in (dtype, *kept))


def needs_compiler() -> None:
    try:
        compiler.compiler()
    except compiler.CannotCompileError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_compiled_code_equals_the_definition(name: str, dtype: torch.dtype, force: Callable[[str], None]) -> None:
    needs_compiler()
    force("C")
    assert steepest.Optimizer([torch.zeros(2, dtype=dtype)], RULES[name]).plan().rows[0]["execution"] == "C"
    compiled = parameters(RULES[name], dtype, SHAPES)
    force("eager")
    starts = trained(RULES[name], dtype, SHAPES, steps=0)[0]
    for start, mine, defined in zip(starts, compiled, parameters(RULES[name], dtype, SHAPES), strict=True):
        apart = (mine.double() - defined.double()).abs()
        unit = rounding(name, dtype) * defined.double().abs().clamp(min=1.0)
        assert (apart <= ROUNDINGS * STEPS * unit).all()
        moved = (defined.double() - start.double()).abs()
        if moved.numel() > 100 and moved.mean() > 2 * unit.mean():
            assert apart.mean() < 0.1 * moved.mean()  # kernels that do nothing fail


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("name", RULES)
def test_odd_gradients_give_what_the_definition_gives(name: str, value: float, force: Callable[[str], None]) -> None:
    needs_compiler()

    def change(g: Tensor) -> Tensor:
        if g.numel() > 2:
            g.view(-1)[1] = value
        return g

    force("C")
    compiled = parameters(RULES[name], torch.float32, [(7,), (5, 3)], change=change)
    force("eager")
    for mine, defined in zip(compiled, parameters(RULES[name], torch.float32, [(7,), (5, 3)], change=change), strict=True):
        torch.testing.assert_close(mine, defined, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_total_does_not_depend_on_threads() -> None:
    needs_compiler()
    rule, threads, found = steepest.chain(steepest.clip_global_norm(0.5), steepest.adamw(0.01)), torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(parameters(rule, torch.float32, [(300_001,), (17,)]))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_gradients_laid_out_otherwise_are_read_right(force: Callable[[str], None]) -> None:
    def change(g: Tensor) -> Tensor:
        return g.mT.contiguous().mT

    force("C")
    compiled = parameters(steepest.adam(0.1), torch.float32, [(4, 6)], change=change)
    force("eager")
    torch.testing.assert_close(compiled[0], parameters(steepest.adam(0.1), torch.float32, [(4, 6)], change=change)[0])


def test_parameters_that_move_are_followed() -> None:
    """A new storage, another dtype, and back: the pointers are read at every step."""
    torch.manual_seed(0)
    nets = [nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    ours, theirs = steepest.Optimizer(nets[0], steepest.adam(0.1)), torch.optim.Adam(nets[1].parameters(), lr=0.1)
    for i in range(6):
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            if i == 3:
                for p in net.parameters():
                    p.data = p.data.clone()
            optimizer.zero_grad()
            net(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("rule", [steepest.adam(0.1), steepest.momentum(0.1)], ids=str)
@pytest.mark.parametrize("to", [torch.float64, torch.bfloat16], ids=str)
def test_parameters_that_change_their_dtype_take_their_state_along(rule: steepest.Rule, to: torch.dtype) -> None:
    """Compiled for one dtype, run over another, code would read and write past the end."""
    torch.manual_seed(0)
    net = nn.Linear(300, 7)
    optimizer = steepest.Optimizer(net, rule)
    for dtype in (torch.float32, to, torch.float32):
        net.to(dtype)
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.ones(2, 300, dtype=dtype)).square().sum().backward()
            optimizer.step()
        assert {value.dtype for slot, value in optimizer.state[net.weight].items() if slot != "step"} == {dtype}
    assert torch.isfinite(net.weight).all()


def test_a_layout_changed_half_way_is_followed(force: Callable[[str], None]) -> None:
    found = []
    for execution in ("C", "eager"):
        force(execution)
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3)
        optimizer = steepest.Optimizer(net, steepest.adam(0.1))
        for i in range(4):
            if i == 2:
                net.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            net(torch.arange(75.0).view(1, 3, 5, 5) / 75).square().sum().backward()
            optimizer.step()
        found.append(net.weight.detach().contiguous())
    torch.testing.assert_close(*found)


def test_fewer_threads_than_were_asked_for_still_do_all_the_work() -> None:
    needs_compiler()
    script = (
        "import torch, steepest; torch.set_num_threads(4); p = torch.zeros(400_000, requires_grad=True)\n"
        "o = steepest.Optimizer([p], steepest.sgd(1.0)); p.grad = torch.ones_like(p); o.step(); assert (p == -1).all()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "OMP_THREAD_LIMIT": "1"})


def test_rules_of_one_name_are_told_apart() -> None:
    """A class defined anew, as in a notebook, is another formula though it prints alike."""
    found = []
    for factor in (2.0, 3.0):

        @dataclass(frozen=True, repr=False)
        class Times(Transform):
            def formula(self, u: Any, p: Any, s: Any, k: Any, factor: float = factor) -> Any:
                return factor * u

        p = torch.zeros(1, requires_grad=True)
        p.grad = torch.ones(1)
        steepest.Optimizer([p], steepest.chain(Times(), steepest.sgd(1.0))).step()
        found.append(p.item())
    assert found == [-2.0, -3.0]


def test_what_shapes_a_formula_may_not_change_from_step_to_step() -> None:
    """Traced once at the first step, it would stay as it was."""
    needs_compiler()

    @dataclass(frozen=True, repr=False)
    class Warm(Transform):
        def scalars(self, t: int, lr: float) -> dict[str, Any]:
            return {"warm": t <= 2}

        def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
            return 0 * u if k.warm else u

    p = torch.zeros(2, requires_grad=True)
    optimizer = steepest.Optimizer([p], steepest.chain(Warm(), steepest.sgd(1.0)))
    p.grad = torch.ones(2)
    for _ in range(2):
        optimizer.step()
    with pytest.raises(steepest.InputError, match="'warm' in scalars"):
        optimizer.step()


def test_a_state_that_is_needed_after_it_was_overwritten_is_kept(force: Callable[[str], None]) -> None:
    """Out goes the gradient of two steps before, then through two norms: needed two phases after it was overwritten."""

    @dataclass(frozen=True, repr=False)
    class Late(Transform):
        slots = {"last": 1.0, "before": 2.0}  # noqa: RUF012

        def formula(self, u: Any, p: Any, s: Any, k: Any) -> Any:
            out, s.before, s.last = s.before, s.last, u
            return out

    norms = (steepest.clip_global_norm(0.5), steepest.clip_global_norm(0.3))
    rule, found = steepest.chain(Late(), *norms, steepest.sgd(0.1)), []
    for execution in ("C", "eager"):
        force(execution)
        found.append(parameters(rule, torch.float64, [(5,), (3, 2)]))
    for mine, defined in zip(*found, strict=True):
        torch.testing.assert_close(mine, defined)
    p = torch.zeros(1, requires_grad=True)
    optimizer, seen = steepest.Optimizer([p], steepest.chain(Late(), steepest.sgd(1.0))), []
    for gradient in (5.0, 7.0, 9.0):
        before, p.grad = p.item(), torch.full((1,), gradient)
        optimizer.step()
        seen.append(before - p.item())
    assert seen == [2.0, 1.0, 5.0]


def compile_one(folder: str) -> str:
    os.environ["STEEPEST_CACHE"] = folder
    found = native.compiled(steepest.adamw(0.01).links(Parameter("w", (2,), "vectors")), torch.float32)
    return found if isinstance(found, str) else ""


def test_many_processes_may_start_at_once(tmp_path: Path) -> None:
    needs_compiler()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(compile_one, [str(tmp_path)] * 6) == [""] * 6
    assert len(list((tmp_path / "kernels").glob("*.so"))) == 1
    assert not list((tmp_path / "kernels").glob(".building-*"))


def test_without_a_compiler_torchs_operations_or_the_definition_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    native.compiled.cache_clear()
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    compiler.compiler.cache_clear()
    compiler.say_once.cache_clear()
    plan = steepest.Optimizer(nn.Linear(2, 2), steepest.adamw(0.01)).plan()
    assert [row["execution"] for row in plan.rows] == ["torch fused adamw"]
    plan = steepest.Optimizer(nn.Linear(2, 2), steepest.rmsprop(0.01)).plan()
    assert plan.rows[0]["execution"] == "eager"
    assert plan.rows[0]["reason"] == f"no C compiler was found (CC={tmp_path / 'none'})"
    assert [record.message for record in caplog.records] == [
        f"rules run without compiled code, which is slower: no C compiler was found (CC={tmp_path / 'none'})"
    ]
    monkeypatch.undo()
    compiler.compiler.cache_clear()
    native.compiled.cache_clear()


def test_the_cache_is_the_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir(mode=0o777)
    (tmp_path / "kernels").chmod(0o777)
    assert not stat.S_IMODE(compiler.cache_folder().stat().st_mode) & 0o022
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(compiler.CannotCompileError, match="no folder to keep compiled code in"):
        compiler.cache_folder()


# -- chains nobody thought of -----------------------------------------------------------------------------------------

LINKS = (
    steepest.clip_value(0.5),
    steepest.clip_global_norm(0.7),
    steepest.decay_weights(0.1),
    steepest.heavy_ball(0.9, dampening=0.2),
    steepest.heavy_ball(0.5, nesterov=True),
    steepest.ema(0.8),
    steepest.scale_by_adagrad(eps=1e-3, initial_accumulator_value=0.1),
    steepest.scale_by_adadelta(eps=1e-3),
    steepest.scale_by_rms(0.9, eps=1e-2, centered=True),
    steepest.scale_by_adam(eps=1e-2),
    steepest.scale_by_lion(),
    steepest.scale_by_nadam(eps=1e-2),
    steepest.scale_by_radam(b2=0.6, eps=1e-2),
    steepest.scale_by_adamax(eps=1e-2),
    steepest.scale_by_amsgrad(eps=1e-2, max_of_corrected=True, eps_mode="inside"),
    steepest.scale_by_rprop(),
    steepest.scale_by_asgd(t0=2),
    steepest.scale_by_trust_ratio(0.1, eps=1e-2),
    steepest.scale_by_prodigy(d0=1e-2, eps=1e-2, growth_rate=1.5),
    steepest.scale_by_sophia(eps=1e-2),
    steepest.maximize(),
    steepest.centralize_gradients(),
    steepest.adaptive_clip(0.1),
    steepest.add_noise(0.3),
    steepest.reduce_variance(),
    steepest.proximal_l1(0.5),
    steepest.clamp_weights(-0.5, 0.25),
)


@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    st.lists(st.sampled_from(LINKS), min_size=0, max_size=4),
    st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=4),
)
def test_any_chain_equals_the_definition(links: list[steepest.Rule], shapes: list[tuple[int, ...]]) -> None:
    needs_compiler()
    rule = steepest.chain(*links, steepest.scale_by_learning_rate(0.1))
    chosen = native.compiled(rule.links(Parameter("w", (2,), "vectors")), torch.float64)
    assert isinstance(chosen, native.Native)
    compiled = parameters(rule, torch.float64, shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "compiled", lambda links, dtype: "turned off")
        patch.setattr(fused, "recognise", lambda links: "turned off")
        defined = parameters(rule, torch.float64, shapes)
    for mine, other in zip(compiled, defined, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


HARNESS = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  const int64_t sizes[] = {0, 1, 7, 33, 1000}, lengths[] = {1, 1, 7, 11, 100};
  const int width[] = {WIDTHS};
  enum { rows = 5, at_most = 512 };
  void *memory[rows * MEMORIES], *moving[2 * rows];
  double *kept[rows * KEPT], kept_numbers[rows * KEPT];
  int64_t chunk[3 * 20], chunks = 0, unit_at[rows], units = 0;
  int32_t group[rows] = {0};
  uint64_t keys[rows * SEEDS];
  double scalars[SCALARS], totals[rows * TOTALS], overall[TOTALS];
  double *of_units = calloc(at_most * TOTALS, sizeof(double)), *partials;
  for (int i = 0; i < SCALARS; i++) scalars[i] = 0.5;
  for (int i = 0; i < rows * TOTALS; i++) totals[i] = 1;
  for (int i = 0; i < rows * KEPT; i++) kept_numbers[i] = 0.5, kept[i] = kept_numbers + i;
  for (int i = 0; i < rows * SEEDS; i++) keys[i] = i;
  for (int r = 0; r < rows; r++) {
    unit_at[r] = units;
    units += lengths[r] ? sizes[r] / lengths[r] : 1;
    for (int m = 0; m < MEMORIES; m++) {
      const int64_t n = width[m] ? sizes[r] * width[m] : (sizes[r] + 255) / 256 * 4; /* 0: a scale for each block */
      memory[r * MEMORIES + m] = calloc(n ? n : 1, 1);
    }
    for (int m = 0; m < 2; m++) moving[m * rows + r] = calloc(sizes[r] ? sizes[r] * BYTES : 1, 1);
    for (int64_t b = 0; b < sizes[r]; b += PIECE) {
      chunk[3 * chunks] = r, chunk[3 * chunks + 1] = b, chunk[3 * chunks + 2] = b + PIECE < sizes[r] ? b + PIECE : sizes[r];
      chunks++;
    }
  }
  partials = calloc(chunks * (TOTALS + 1), sizeof(double));
  table t = {memory, moving, chunk, group, scalars, totals, overall, partials, of_units, kept, keys, sizes, lengths, unit_at,
             chunks, rows};
  run(&t, 0, 0, PHASES, 1);
  for (int i = 0; i < rows * MEMORIES; i++) free(memory[i]);
  for (int i = 0; i < 2 * rows; i++) free(moving[i]);
  free(of_units), free(partials);
  return 0;
}
"""
WIDTHS = {"wide": 4, "float32": 4, "float64": 8, "bfloat16": 2, "signed8": 1, "unsigned8": 1}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RULES)
def test_compiled_code_stays_in_its_bounds(name: str, dtype: str, tmp_path: Path) -> None:
    """Under the address and the undefined-behaviour sanitizer, over buffers of exactly the right size."""
    needs_compiler()
    program = trace(RULES[name].links(Parameter("w", (2, 2), "matrices")), rounds=dtype == "bfloat16")
    widths = [
        0 if memory.endswith("~scale") else 4 if memory.startswith("scratch") else WIDTHS[program.kinds.get(memory, dtype)]
        for memory in program.staying or ["p"]
    ]
    piece = 700 if program.by_units else 512
    harness = HARNESS.replace("WIDTHS", ", ".join(map(str, widths))).replace("BYTES", str(WIDTHS[dtype]))
    code = source(program, dtype) + harness.replace("PIECE", str(piece))
    (tmp_path / "code.c").write_text(code)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-fopenmp-simd"]
    subprocess.run([*compiler.compiler()[0], *flags, "-o", "code", "code.c", "-lm"], cwd=tmp_path, check=True)
    subprocess.run(["./code"], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize("length", [0, 100, 4000])
def test_a_broken_library_is_made_anew(length: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a power cut, say: to load half a library kills the process."""
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    text = "int seven(void) { return 7; }"
    compiler.load(text)
    (library,) = (tmp_path / "kernels").glob("*.so")
    content = library.read_bytes()
    library.unlink()  # the one that is loaded stays as it is
    library.write_bytes(content[:length])
    compiler.load(text)
    assert library.read_bytes() == content


@pytest.mark.parametrize(
    ("cc", "message"),
    [
        ("gcc '", "CC is not a command"),
        ("/nonexistent/cc", "no C compiler was found .CC=/nonexistent/cc."),
        ("true", "true made nothing of the code"),
        ("false", "false refused the code .status 1."),
        ("sh -c 'printf \"\\377 error\" >&2; exit 1'", "sh refused the code"),
    ],
)
def test_what_is_no_compiler_is_told(cc: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", cc)
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    compiler.compiler.cache_clear()
    try:
        with pytest.raises(compiler.CannotCompileError, match=message):
            compiler.load("int eight(void) { return 8; }")
    finally:
        compiler.compiler.cache_clear()


def test_a_folder_that_cannot_be_written_to_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))

    def full(*anything: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiler.tempfile, "TemporaryDirectory", full)
    with pytest.raises(compiler.CannotCompileError, match=r"cannot be written to .*No space left on device"):
        compiler.load("int nine(void) { return 9; }")


def test_torchs_threads_are_found_in_a_folder_with_spaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.read_text
    line = f"7f00-7f01 r-xp 00000000 08:01 1234   {tmp_path}/my torch/libgomp-1.so\n"
    monkeypatch.setattr(Path, "read_text", lambda path: line if str(path) == "/proc/self/maps" else real(path))
    asked: list[str] = []

    def missing(path: str) -> None:
        asked.append(path)
        raise OSError(path)

    monkeypatch.setattr(native.ctypes, "CDLL", missing)
    assert native.openmp.__wrapped__() is None
    assert asked == [f"{tmp_path}/my torch/libgomp-1.so"]


def test_torchs_threads_come_before_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs = f"{Path(torch.__file__).parent}/lib/libgomp.so.1"
    real, asked = Path.read_text, []
    lines = "".join(f"7f00-7f01 r-xp 00000000 08:01 1234   {path}\n" for path in ("/a/scikit_learn.libs/libgomp-1.so", torchs))
    monkeypatch.setattr(Path, "read_text", lambda path: lines if str(path) == "/proc/self/maps" else real(path))

    def missing(path: str) -> None:
        asked.append(path)
        raise OSError(path)

    monkeypatch.setattr(native.ctypes, "CDLL", missing)
    native.openmp.__wrapped__()
    assert asked == [torchs, "/a/scikit_learn.libs/libgomp-1.so"]
