"""What the generated Triton has in every program: imports, odd arithmetic, random numbers, 8-bit blocks, the adding up."""

HEADER = """\
import triton
import triton.language as tl
"""

# |a|^b by way of logarithms: Triton has no power of its own
POWER = """\
@triton.jit
def power(a, b):
    size = tl.exp2(b * tl.log2(tl.abs(a)))
    whole = tl.floor(b) == b
    odd = whole & (tl.floor(b * 0.5) * 2 != b)
    below = tl.where(whole, tl.where(odd, -size, size), float("nan"))
    return tl.where(b == 0, 1.0, tl.where(a == 1, 1.0, tl.where(a < 0, below, size)))
"""

# as in random.py
RANDOM = """\
@triton.jit
def mixed(x):
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def random_bits(i, low, high):
    return mixed(mixed(i * 0x9E3779B1 + low) ^ high)


@triton.jit
def normal(i, key):
    low, high = key.to(tl.uint32), (key >> 32).to(tl.uint32)
    radius = ((random_bits(i, low, high) >> 9).to(tl.float64) + 0.5) * 1.1920928955078125e-07
    angle = ((random_bits(i, low, high ^ 0x85EBCA6B) >> 9).to(tl.float64) + 0.5) * 1.1920928955078125e-07
    turn = tl.full((), 6.283185307179586, tl.float64)
    return tl.sqrt(-2 * tl.log(radius)) * tl.cos(turn * angle)


@triton.jit
def stochastic_bfloat16(y, i, key):
    bits = y.to(tl.uint32, bitcast=True)
    drawn = random_bits(i, key.to(tl.uint32), (key >> 32).to(tl.uint32)) & 0xFFFF
    odd = (bits & 0x7F800000) == 0x7F800000
    return tl.where(odd, bits, (bits + drawn) & 0xFFFF0000).to(tl.float32, bitcast=True)
"""

# As in storage.py. A program's numbers are whole blocks of 256, a row for each; what lies beyond the end is 0.
EIGHT_BIT = """\
@triton.jit
def signed8_value(c, scale):
    return c * tl.abs(c) * quotient(scale, 16129.0)


@triton.jit
def unsigned8_value(c, scale):
    return (c * c) * (c * c) * quotient(scale, 4228250625.0)


@triton.jit
def peaks(rows):
    peak = tl.max(tl.abs(rows), axis=1).to(tl.float32)
    odd = tl.sum(rows - rows, axis=1)
    return tl.where(odd != 0, float("nan"), peak)


@triton.jit
def signed8(rows, peak):
    over = tl.where(peak > 0, peak, 1.0).to(rows.dtype)[:, None]
    level = root(quotient(tl.abs(rows), over)) * 127 + 0.5
    whole = tl.where(level < 127, level, 127.0).to(tl.int32)
    return tl.where(rows < 0, -whole, whole).to(tl.int8)


@triton.jit
def unsigned8(rows, peak):
    over = tl.where(peak > 0, peak, 1.0).to(rows.dtype)[:, None]
    level = root(root(quotient(rows, over))) * 255 + 0.5
    whole = tl.where(level < 255, level, 255.0).to(tl.int32)
    return tl.where((rows > 0) & (whole < 1), 1, whole).to(tl.uint8)
"""

# Rounded to the nearest, as torch computes them: Triton's own quotient and root of float32 are approximate.
EXACT = {
    "float32": """\
@triton.jit
def quotient(a, b):
    return tl.div_rn(a, b)


@triton.jit
def root(a):
    return tl.sqrt_rn(a)
""",
    "float64": """\
@triton.jit
def quotient(a, b):
    return a / b


@triton.jit
def root(a):
    return tl.sqrt(a)
""",
}

# One program for each stretch of chunks and each sum: chunks always meet in the same order.
ADD_UP = """\
@triton.jit
def add_up(partials, bounds, columns, result, SUMS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    stretch, which = tl.program_id(0), tl.program_id(1)
    begin, end = tl.load(bounds + stretch), tl.load(bounds + stretch + 1)
    source, place = tl.load(columns + 2 * which), tl.load(columns + 2 * which + 1)
    lane = tl.arange(0, BLOCK)
    found = tl.zeros((BLOCK,), tl.float64)
    for start in range(begin, end, BLOCK):
        at = start + lane
        found += tl.load(partials + at * SUMS + source, mask=at < end, other=0.0)
    tl.store(result + stretch * WIDTH + place, tl.sum(found, axis=0))
"""
