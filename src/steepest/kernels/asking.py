"""Loops in C that ask many Python objects at once: what tensors and their gradients are like, and what a dict of dicts holds.

torch answers in C through the functions that DLPack defines for such exchange (version 1, https://dmlc.github.io/dlpack/latest).
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

from torch import Tensor

from .compiler import CannotCompileError, library

VERSION = 1  # of DLPack: those of one major version agree on where everything lies; a torch with another is asked from Python
EXCHANGE = "__dlpack_c_exchange_api__"
# of Python's stable interface; handed in as addresses, so that nothing has to be linked
PYTHON = (
    "PyList_GetItem", "PyList_SetItem", "PyObject_GetAttr", "PyDict_Next", "PyObject_Type", "Py_DecRef", "PyErr_Clear",
)  # fmt: skip
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
    int (*put)(void *, intptr_t, void *); /* which takes the object over */
    void *(*attribute)(void *, void *);
    int (*next)(void *, intptr_t *, void **, void **);
    void *(*type)(void *);
    void (*release)(void *);
    void (*forget_error)(void);
} Api;

typedef struct { int64_t *numbers, at, capacity; int known; } Notes;

/* Compare a number with the one that was written down; where nothing is known, write it down. */
static int same(Notes *notes, int64_t number)
{
    if (notes->at == notes->capacity)
        return 0;
    int64_t *place = notes->numbers + notes->at++;
    if (!notes->known)
        *place = number;
    return *place == number;
}

static int same_tensor(const Api *api, void *object, Notes *notes, int64_t *address)
{
    Tensor t;
    void *type = api->type(object);
    api->release(type); /* the object keeps it */
    if (!same(notes, (intptr_t)type))
        return 0;
    if (api->describe(object, &t)) {
        api->forget_error();
        return 0;
    }
    if (!same(notes, ((int64_t)t.device_type << 32) | (uint32_t)t.device))
        return 0;
    if (!same(notes, ((int64_t)t.code << 56) | ((int64_t)t.bits << 48) | ((int64_t)t.lanes << 32) | t.ndim))
        return 0;
    int64_t count = 1;
    for (int d = 0; d < t.ndim; d++) {
        count *= t.shape[d];
        if (!same(notes, t.shape[d]) || !same(notes, t.strides[d]))
            return 0;
    }
    *address = t.data ? (int64_t)((intptr_t)t.data + t.offset) : 0;
    return t.data || !count; /* else it has no memory of its own */
}

/* Ask n tensors where they lie; return 1 when they are the very `objects`, and like what is known of them. With `gradients`,
   a list of as many places, fetch their attribute `name` into it and ask that, too; its addresses follow. With `known` 0,
   write down what all are like. */
int ask(const Api *api, void *list, int64_t n, const int64_t *objects, void *name, void *gradients, int64_t num_gradients,
        int known, int64_t *numbers, int64_t capacity, int64_t *addresses)
{
    Notes notes = {numbers, 0, capacity, known};
    for (int64_t i = 0; i < n; i++) {
        void *object = api->item(list, i), *gradient;
        if (!object) {
            api->forget_error();
            return 0;
        }
        if (objects[i] != (int64_t)(intptr_t)object || !same_tensor(api, object, &notes, addresses + i))
            return 0;
        if (i >= num_gradients)
            continue;
        if (!(gradient = api->attribute(object, name))) {
            api->forget_error();
            return 0;
        }
        api->put(gradients, i, gradient);
        if (!same_tensor(api, gradient, &notes, addresses + n + i))
            return 0;
    }
    return 1;
}

/* Go through a dict of dicts; return 1 when keys, dicts and their values are the very objects known, no more and no fewer. */
int same_contents(const Api *api, void *whole, int64_t n, int64_t *objects)
{
    Notes notes = {objects, 0, n, 1};
    void *key, *part, *name, *value;
    for (intptr_t i = 0; api->next(whole, &i, &key, &part);) {
        if (!same(&notes, (intptr_t)key) || !same(&notes, (intptr_t)part))
            return 0;
        for (intptr_t k = 0; api->next(part, &k, &name, &value);)
            if (!same(&notes, (intptr_t)name) || !same(&notes, (intptr_t)value))
                return 0;
    }
    return notes.at == n;
}
"""


class _Api(ctypes.Structure):
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
        self._api = _Api(describe, *(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p) for name in PYTHON))
        self.api = ctypes.addressof(self._api)
        number, pointer, thing, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.py_object, ctypes.c_int
        self.ask, self.same_contents = found.ask, found.same_contents
        self.ask.argtypes = (pointer, thing, number, pointer, thing, thing, number, flag, pointer, number, pointer)
        self.same_contents.argtypes = (pointer, thing, number, pointer)


@functools.cache
def loops() -> Loops | None:
    """Return the loops in C, or None where Python has to ask: no compiler, no such functions, a Python without its lock."""
    found = getattr(Tensor, EXCHANGE, None)
    if found is None or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    unpack = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
    try:
        exchange = _Exchange.from_address(unpack(found, b"dlpack_exchange_api"))
        return Loops(exchange.describe, library(SOURCE)) if exchange.major == VERSION and exchange.describe else None
    except (CannotCompileError, ValueError, OSError):
        return None
