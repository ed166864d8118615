"""Arrays of any library as NumPy views, without a copy where memory allows, and results as the kind that came in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError

Give = Callable[[NDArray[Any]], Any]
"""Turns a NumPy result into the kind of array that came in."""

BRAIN = np.dtype([("bfloat16", np.uint16)])
"""The bits of bfloat16, which NumPy has no type for of its own."""


def half_of(dtype: np.dtype[Any]) -> str | None:
    """The name of a half precision, "float16" or "bfloat16" (of ml_dtypes, or BRAIN); None for every other dtype."""
    name = "bfloat16" if dtype == BRAIN else dtype.name
    return name if name in ("float16", "bfloat16") and dtype.isnative else None


def array_of(values: Any, what: str) -> NDArray[Any]:
    """NumPy's array of the values; rows of different lengths, and masked arrays, raise InputError."""
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{what} is a masked array, whose mask would be lost: leave out or fill what is masked")
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"{what} cannot be made an array: its rows have different lengths or kinds") from None


def is_torch(values: Any) -> bool:
    """Whether this is a tensor of PyTorch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def wants_gradient(values: Any) -> bool:
    """Whether this is a tensor that PyTorch records the operations of."""
    return is_torch(values) and bool(values.requires_grad) and sys.modules["torch"].is_grad_enabled()


def adopt(values: Any, what: str) -> tuple[NDArray[Any], Give]:
    """A NumPy view of an array of any library (PyTorch, JAX, DLPack, __array__), and the way back for results.

    Raises InputError for arrays that do not lie in main memory.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{what} is a masked array: give its data, and where=~mask for what counts")
    if isinstance(values, np.ndarray):
        return values, _as_is
    if is_torch(values):
        return _from_torch(values, what)
    device = getattr(values, "device", None)
    kind = str(getattr(device, "platform", device) or "cpu").lower()
    if hasattr(values, "__dlpack__") and not kind.startswith("cpu"):
        raise _elsewhere(what, kind)
    if type(values).__module__.startswith(("jax", "jaxlib")):
        jax_numpy = sys.modules["jax.numpy"]
        return np.asarray(values), lambda result: jax_numpy.asarray(result)
    if hasattr(values, "__array__") or not hasattr(values, "__dlpack__"):
        return array_of(values, what), _as_is
    space = getattr(values, "__array_namespace__", None)
    back = space().from_dlpack if space is not None and hasattr(space(), "from_dlpack") else _as_is
    return np.from_dlpack(values), back


def _as_is(result: NDArray[Any]) -> NDArray[Any]:
    return result


def _elsewhere(what: str, device: str) -> InputError:
    return InputError(f"{what} lies on the device {device!r}; luce works in main memory: move it to the CPU first")


def _from_torch(tensor: Any, what: str) -> tuple[NDArray[Any], Give]:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise _elsewhere(what, str(tensor.device))
    plain = tensor.detach().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        bits = plain.view(torch.int16).numpy().view(BRAIN)

        def back(result: NDArray[Any]) -> Any:
            if result.dtype != BRAIN:  # places, which are whole numbers
                return torch.from_numpy(result)
            return torch.from_numpy(np.ascontiguousarray(result).view(np.int16)).view(torch.bfloat16)

        return bits, back
    return plain.numpy(), torch.from_numpy


def in_memory_order(array: NDArray[Any]) -> tuple[int, ...] | None:
    """The order of axes in which the array lies side by side in memory; None if it does in none."""
    order = tuple(sorted(range(array.ndim), key=lambda axis: (-array.strides[axis], axis)))
    return order if array.transpose(order).flags.c_contiguous else None


def recorded(tensor: Any, forward: Callable[[Any], Any], pull_back: Callable[[Any, Any], Any], out: Any) -> Any:
    """forward(tensor) as an operation that PyTorch records; its gradient is pull_back(tensor, gradient of the result).

    Both are called with tensors that record nothing. Raises InputError if the result should go into `out`.
    """
    torch: Any = sys.modules["torch"]
    if out is not None:
        raise InputError("out cannot be given for a tensor that needs a gradient: leave it out, or detach the tensor")

    class Recorded(torch.autograd.Function):  # type: ignore[misc]  # torch is not there to be checked
        @staticmethod
        def forward(context: Any, z: Any) -> Any:
            context.save_for_backward(z)
            return forward(z.detach())

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(context: Any, gradient: Any) -> Any:
            (z,) = context.saved_tensors
            return pull_back(z.detach(), gradient.detach())

    return Recorded.apply(tensor)
