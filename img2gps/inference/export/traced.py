"""Python source of a traced network, for architectures that torchvision does not have.

The source calls torch operators by name, so it runs wherever torch is, without the package that
built the network.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from img2gps.inference.network import Member

_MEMBER = '''class Member(nn.Module):
    """One trained network, its tensors by name."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network, self.inputs, tensors = NETWORKS[architecture]
        for name, shape, kind in tensors:
            declare(self, name, torch.zeros(shape, dtype=getattr(torch, kind)))
        self.degrees = Degrees()

    def forward(self, images: Tensor) -> Tensor:
        """Return latitude and longitude in degrees."""
        tensors = [self.get_buffer(name) for name in self.inputs]
        degrees: Tensor = self.degrees(self.network(*tensors, images)[0])
        return degrees


def declare(module: nn.Module, name: str, value: Tensor) -> None:
    """Register a tensor under a dotted name."""
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, nn.Module())
        module = getattr(module, part)
    module.register_buffer(leaf, value)
'''


class _Scaled(nn.Module):
    """A member without its last step, which the readable part of model.py has."""

    mean: Tensor
    std: Tensor

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.backbone, self.head = member.backbone, member.head
        self.register_buffer("mean", member.mean)
        self.register_buffer("std", member.std)

    def forward(self, images: Tensor) -> Tensor:
        scaled: Tensor = self.head(self.backbone((images - self.mean) / self.std))
        return scaled


def member_source(networks: dict[str, Member], image_size: int) -> str:
    """Return source that defines `Member(architecture)` for each of these networks."""
    parts, entries = [_MEMBER], []
    for index, (name, member) in enumerate(networks.items()):
        scaled = _Scaled(member).eval()
        function, inputs = _function(scaled, f"network_{index}", image_size)
        tensors = [
            (key, tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for key, value in scaled.state_dict().items()
        ]
        parts.append(function)
        entries.append(f"    {name!r}: (\n        network_{index},\n        {inputs!r},\n")
        entries[-1] += f"        {tensors!r},\n    ),\n"
    parts.append("NETWORKS = {\n" + "".join(entries) + "}\n")
    return "\n\n".join(parts)


def _function(scaled: _Scaled, name: str, image_size: int) -> tuple[str, list[str]]:
    """Return the source of a traced function, and the tensors that it takes before the images."""
    images = torch.zeros(2, 3, image_size, image_size)
    batch = torch.export.Dim("n", min=1, max=4096)
    program = torch.export.export(scaled, (images,), dynamic_shapes=({0: batch},))
    specs = program.graph_signature.input_specs
    taken = [str(spec.target) for spec in specs if spec.kind is not InputKind.USER_INPUT]
    code = program.graph_module.code.strip()
    code = re.sub(r"def forward\(self, ", f"def {name}(", code)
    # Checks of the tracing itself, which name devices in a way that is no Python.
    code = re.sub(r"^.*_assert_tensor_metadata.*\n", "", code, flags=re.MULTILINE)
    # Statements that free a tensor after its last use are left out: they only distract a reader.
    code = re.sub(r";  [\w =]+ = None$", "", code, flags=re.MULTILINE)
    return f"{code}\n", taken
