"""ONNX: uint8 pictures in, degrees and radius out, for runtimes without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2gps.core.files import write_bytes_atomic
from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Pixels, Reloaded
from img2gps.inference.export.program import (
    MOST_PHOTOS,
    Outputs,
    density_note,
    example,
    output_names,
)

GRAPH = "model.onnx"
OPSET = 18
INPUT = "pixels"


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the graph; return a function that predicts with onnxruntime."""
    outputs = Outputs(deployed.network).eval()
    batch = torch.export.Dim("photos", min=1, max=MOST_PHOTOS)
    pixels = example(deployed.card.image_size)
    traced = torch.export.export(outputs, (pixels,), dynamic_shapes=({0: batch},))
    program = torch.onnx.export(
        traced.run_decompositions({torch.ops.aten.sort.stable: _sort}),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=output_names(deployed.network),
        verbose=False,
    )
    assert program is not None
    write_bytes_atomic(folder / GRAPH, _without_traces(program.model_proto).SerializeToString())
    return session(folder / GRAPH)


def _sort(
    values: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Sort as ONNX can; which of equal values comes first may differ."""
    found: tuple[Tensor, Tensor] = torch.ops.aten.sort.default(values, dim, descending)
    return found


def _without_traces(graph: Any) -> Any:
    """Remove what the exporter notes of the source code: it has the paths of this machine."""
    parts = (graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer)
    for part in (*parts, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
    return graph


def session(path: Path) -> Callable[[Pixels], NDArray[np.float64]]:
    """Return a function that predicts with a graph."""
    import onnxruntime

    running: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(pixels: Pixels) -> NDArray[np.float64]:
        degrees: NDArray[np.float64] = running.run(None, {INPUT: pixels})[0]
        return degrees

    return answer


def usage(deployed: Deployed) -> str:
    """Return how the file is used, as Markdown."""
    size, names = deployed.card.image_size, ", ".join(output_names(deployed.network))
    return f"""```python
import numpy as np, onnxruntime
from PIL import Image, ImageOps

photo = Image.open("photo.jpg")
photo.draft("RGB", ({2 * size}, {2 * size}))  # as in training; without it answers move a little
photo = photo.convert("RGB").resize(({size}, {size}), Image.BILINEAR)
photo = ImageOps.exif_transpose(photo)  # after it has been squashed, as in training
model = onnxruntime.InferenceSession("{GRAPH}")
{names} = model.run(None, {{"{INPUT}": np.array(photo)[None]}})
```

Pixels are uint8, (photos, {size}, {size}, 3), any number of photos; nothing is to be normalised.
Degrees are latitude and longitude. Strangeness above 1 means that the photo is not from here.
{density_note(deployed.network)}"""
