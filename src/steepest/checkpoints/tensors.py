"""Tensors in a file of the safetensors format: a header of JSON that says where each lies, and then their bytes.

Written here piece by piece, so that no second copy of the state is made and its fingerprint is taken on the way; read by the
safetensors library, which checks what a header claims. Source: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, first_line

ALIGNED = 8  # bytes a header ends on
CODES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
}


def check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    """Raise where a tensor is of a kind that the format does not know."""
    for name, tensor in tensors.items():
        if tensor.dtype not in CODES:
            raise InputError(f"{name} is a tensor of {tensor.dtype}, which a checkpoint cannot keep; make it {_known()}")


def _known() -> str:
    return "one of " + ", ".join(str(dtype).removeprefix("torch.") for dtype in CODES)


def pieces_of(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield the bytes of a file of these tensors (dense, on the CPU), the largest numbers first, so that each lies aligned."""
    check_dtypes(tensors)
    named = sorted(tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0]))
    header, end = {}, 0
    for name, tensor in named:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in named:
        if tensor.numel():
            yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, on the CPU.

    Raises:
        InputError: it is no such file, or its header does not fit what lies there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path} is no file of tensors: {first_line(error)}") from None
