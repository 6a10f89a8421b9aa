"""A simulated device: its data are on the CPU, and operations that would wait for a real one are recorded."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from realign import transfer

THERE = torch.device("meta")  # a build without CUDA or MPS cannot name those in a tensor
COPY = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
INDEX = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}
READ = {
    *(torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default, torch.ops.aten.is_nonzero.default),
    torch.ops.aten._linalg_check_errors.default,
}
SHAPED_BY_DATA = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}


class There(Tensor):
    """Tensors that report another device and are computed on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), dtype=numbers.dtype, device=THERE
        )
        made.numbers = numbers
        return made

    def tolist(self) -> Any:
        """Torch has none for subclasses."""
        return self.cpu().tolist()

    def numpy(self) -> Any:
        """Torch reads the memory itself."""
        raise TypeError("numbers of another device have no numpy(); call cpu() first")

    def __getitem__(self, places: Any) -> Tensor:
        """A mode does not see the operation that turns a list of positions into a tensor."""
        several = places if isinstance(places, tuple) else (places,)
        return super().__getitem__(tuple(torch.tensor(each) if isinstance(each, list) else each for each in several))

    def new_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        """A mode does not see the operation that makes it."""
        return self.numbers.new_tensor(*args, **kwargs).to(THERE)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # within the mode, which sees calls before
        return Device.compute(func, args, kwargs or {})


class Device(TorchDispatchMode):
    """Computes operations of the simulated device on the CPU; refuses to mix tensors of both devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.compute(func, args, kwargs or {})

    @classmethod
    def compute(cls, func: Any, args: tuple, kwargs: dict) -> Any:
        flat, form = tree_flatten((args, kwargs))
        found = [each for each in flat if isinstance(each, Tensor)]
        here = [each for each in found if isinstance(each, There)]
        if here and func not in COPY | INDEX:
            assert all(isinstance(each, There) or each.ndim == 0 for each in found), f"two devices in {func}"
        named = kwargs.get("device")
        there = bool(here) if named is None else torch.device(named) == THERE
        if func is torch.ops.aten.copy_.default:
            there = isinstance(args[0], There)
        plain, options = tree_unflatten([each.numbers if isinstance(each, There) else each for each in flat], form)
        if named is not None:
            options["device"] = torch.device("cpu")
        if func is torch.ops.aten._to_copy.default and options.get("dtype") in (None, plain[0].dtype):
            out = plain[0].clone()  # a copy to where it is already would be the same memory
        else:
            out = func(*plain, **options)
        if not there:
            return out
        cls.made(func, out)
        for each in here:
            if each.numbers is out:
                return each
        return There(out) if isinstance(out, Tensor) else tree_map_only(Tensor, There, out)

    @classmethod
    def made(cls, func: Any, out: Any) -> None:
        """Check the result of an operation on the device."""


class _Makers(TorchFunctionMode):
    """Tensors of Python numbers are made on the CPU and copied, as torch does inside."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


class Waits(Device):
    """Counts waits for a GPU by kind: values read, blocking copies, shapes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kind := self._kind(func, args, kwargs):
            self.found[f"{kind} {func}"] += 1
        return self.compute(func, args, kwargs)

    @staticmethod
    def _kind(func: Any, args: tuple, kwargs: dict) -> str:
        if func in COPY:
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            to = args[0].device if func is torch.ops.aten.copy_.default else kwargs.get("device") or source.device
            if source.device == torch.device(to):
                return ""
            if isinstance(source, There):
                return "download"
            quick = kwargs.get("non_blocking") or (func is torch.ops.aten.copy_.default and args[2:] == (True,))
            return "" if source.numel() == 0 or (quick and getattr(source, "pinned", False)) else "upload"
        if func not in INDEX | READ and not SHAPED_BY_DATA & set(func.tags):
            return ""
        if not any(isinstance(each, There) for each in tree_leaves((args, kwargs))):
            return ""
        if func in INDEX:
            indices = [each for each in args[1] if each is not None]
            if any(each.dtype in (torch.bool, torch.uint8) for each in indices):
                return "shape by data"
            return "" if all(isinstance(each, There) for each in indices) else "upload"
        return "read" if func in READ else "shape by data"


def place(module: nn.Module) -> nn.Module:
    """Put the weights and buffers of a module on the device."""
    for part in module.modules():
        if hasattr(part, "_device"):  # where Lightning's modules note it
            part._device = THERE
        for name, value in part._parameters.items():
            if value is not None and not isinstance(value, There):
                part._parameters[name] = nn.Parameter(There(value.detach()), requires_grad=value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None and not isinstance(value, There):
                part._buffers[name] = There(value.detach())
    return module


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Nothing to choose."""


class Strategy(SingleDeviceStrategy):
    """Trains on the device; pages of memory are pinned for it as they are for CUDA."""

    def __init__(self) -> None:
        super().__init__(device=THERE, accelerator=_Accelerator())

    def model_to_device(self) -> None:
        assert isinstance(self.model, LightningModule)
        place(self.model)


@contextmanager
def the_device(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it the device is known to the package, which treats it as CUDA, and to torch."""

    def pin(tensor: Tensor, *_: Any) -> Tensor:
        copy = tensor.clone()
        copy.pinned = True  # type: ignore[attr-defined]
        return copy

    with patch.context() as inner, _Makers():
        inner.setattr(Tensor, "pin_memory", pin)
        inner.setattr(Tensor, "is_pinned", lambda tensor: getattr(tensor, "pinned", False))
        inner.setattr(transfer, "PINNED", {*transfer.PINNED, THERE.type})
        inner.setattr(torch, "autocast", lambda *args, **options: nullcontext())  # which knows no such device
        yield
