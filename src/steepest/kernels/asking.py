"""Loops in C that ask many Python objects at once: what tensors are like, where they lie, and who is in a dict.

torch answers in C through the functions that DLPack defines for such exchange (version 1, https://dmlc.github.io/dlpack/latest).
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from torch import Tensor

from .compiler import CannotCompileError, library

VERSION = 1  # of DLPack: those of one major version agree on where everything lies
EXCHANGE = "__dlpack_c_exchange_api__"
# of Python's stable interface; handed in as addresses, so that nothing has to be linked
PYTHON = ("PyList_GetItem", "PyDict_Next", "PyObject_Type", "Py_DecRef", "PyErr_Clear")
SOURCE = """\
#include <stdint.h>

typedef struct {
    void *data;
    int32_t device_type, device, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t offset;
} Tensor;

typedef struct {
    int (*describe)(void *, Tensor *);
    void *(*item)(void *, intptr_t);
    int (*next)(void *, intptr_t *, void **, void **);
    void *(*type)(void *);
    void (*release)(void *);
    void (*forget_error)(void);
} Ways;

static int told(const Ways *ways, void *object, int64_t *lies, int64_t *said)
{
    Tensor t;
    void *type = ways->type(object);
    ways->release(type); /* the object keeps it */
    if (ways->describe(object, &t)) {
        ways->forget_error();
        return 0;
    }
    int64_t count = 1;
    said[0] = (int64_t)(intptr_t)type;
    said[1] = ((int64_t)t.device_type << 32) | (uint32_t)t.device;
    said[2] = ((int64_t)t.code << 40) | ((int64_t)t.bits << 32) | ((int64_t)t.lanes << 16) | t.ndim;
    for (int d = 0; d < t.ndim; d++) {
        count *= t.shape[d];
        said[3 + 2 * d] = t.shape[d];
        said[4 + 2 * d] = t.strides[d];
    }
    *lies = t.data ? (int64_t)((intptr_t)t.data + t.offset) : 0;
    return t.data || !count ? 3 + 2 * t.ndim : 0;
}

/* Ask `n` tensors; return how many numbers were written down of them, 0 when one is not like what is known of it. The first
   `same` are to be the very objects. With `known` zero, write down what they are like. */
int64_t ask(const Ways *ways, void *list, int64_t n, int64_t same, int known, int64_t *objects, int64_t *lies, int64_t *like)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t said[3 + 2 * 64]; /* torch has at most 64 dimensions */
        void *object = ways->item(list, i);
        if (!object) {
            ways->forget_error();
            return 0;
        }
        if (known && i < same && objects[i] != (int64_t)(intptr_t)object)
            return 0;
        objects[i] = (int64_t)(intptr_t)object;
        int length = told(ways, object, lies + i, said);
        if (!length)
            return 0;
        for (int k = 0; k < length; k++)
            if (!known)
                like[at + k] = said[k];
            else if (like[at + k] != said[k])
                return 0;
        at += length;
    }
    return at;
}

/* Go through a dict of dicts; return 1 when these and their values are the very objects known, no more and no fewer. */
int64_t walk(const Ways *ways, void *whole, int64_t n, const int64_t *objects)
{
    int64_t at = 0;
    void *key, *part, *name, *value;
    for (intptr_t i = 0; ways->next(whole, &i, &key, &part);) {
        if (at == n || objects[at++] != (int64_t)(intptr_t)part)
            return 0;
        for (intptr_t k = 0; ways->next(part, &k, &name, &value);)
            if (at == n || objects[at++] != (int64_t)(intptr_t)value)
                return 0;
    }
    return at == n;
}
"""


class _Ways(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("describe", *PYTHON))


class _Exchange(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("older", "allocate", "take", "give", "describe", "stream")),
    )


class Loops:
    """The loops in C, bound to the functions they call."""

    def __init__(self, describe: int, path: Path) -> None:
        found = ctypes.PyDLL(str(path))  # it holds on to Python's lock
        addresses = (ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p) for name in PYTHON)
        self._ways = _Ways(describe, *addresses)
        self.ways = ctypes.addressof(self._ways)
        number, pointer, thing = ctypes.c_int64, ctypes.c_void_p, ctypes.py_object
        self.ask, self.walk = found.ask, found.walk
        self.ask.argtypes = (pointer, thing, number, number, ctypes.c_int, pointer, pointer, pointer)
        self.walk.argtypes = (pointer, thing, number, pointer)
        self.ask.restype = self.walk.restype = number


@functools.cache
def loops() -> Loops | None:
    """Return the loops in C, or None where Python has to ask."""
    found = getattr(Tensor, EXCHANGE, None)
    if found is None:
        return None
    unpack = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
    try:
        exchange = _Exchange.from_address(unpack(found, b"dlpack_exchange_api"))
        return Loops(exchange.describe, library(SOURCE)) if exchange.major == VERSION and exchange.describe else None
    except (CannotCompileError, ValueError, OSError):
        return None
