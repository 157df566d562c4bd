"""The devices that torch can use here, and whether they compute bf16 natively."""

from __future__ import annotations

import torch

from img2gps.core import hardware

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # Linux names of native bf16 arithmetic


def native_bf16(accelerator: str = "auto") -> bool:
    """Return whether bf16 is native: CUDA capability 8 or higher, or AVX-512 bf16 or AMX."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    return bool(BF16_FLAGS & hardware.cpu_flags())


def has_gpu() -> bool:
    """Return whether torch can use a CUDA device or Apple's GPU."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def kind_and_count(accelerator: str = "auto") -> tuple[str, int]:
    """Return what Lightning computes on, and how many of these this process may use."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda", torch.cuda.device_count()
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps", 1
    return ("cpu", hardware.cores()) if accelerator in ("auto", "cpu") else (accelerator, 1)


def gpu_name(accelerator: str = "auto") -> str:
    """Return the name of the CUDA device that Lightning computes on; "" if there is none."""
    return torch.cuda.get_device_name() if kind_and_count(accelerator)[0] == "cuda" else ""


def peak_gpu_memory_mb(accelerator: str = "auto") -> float | None:
    """Return the most memory that a run's tensors took on the GPU, in 10**6 bytes."""
    return torch.cuda.max_memory_allocated() / 1e6 if gpu_name(accelerator) else None
