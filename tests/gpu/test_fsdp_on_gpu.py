"""A run whose weights are divided by NCCL, in a team of one process: two cannot share a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from img2gps import train
from img2gps.core.errors import ProcessLost
from img2gps.training import loop
from img2gps.training.sharding import ShardedStrategy
from img2gps.training.team import Team, connected
from tests.helpers.tiny import tiny_config
from tests.runs.test_train import assert_same_run, weights

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
    pytest.mark.usefixtures("workdir"),
]

ONE_STEP = ("split.n_train=16", "batch_size=16", "max_epochs=1", "optimizer=sgd", "lr=0.01")


@pytest.fixture
def meeting(tmp_path: Path) -> Path:
    return tmp_path / "meeting"


@contextmanager
def sharded(meeting: Path) -> Iterator[None]:
    """Let the runs inside take the way of several processes, which NCCL connects."""
    with pytest.MonkeyPatch.context() as patch, connected(Team(0, 1), meeting, "gpu"):
        patch.setattr(loop, "_strategy", lambda *_: Watched())
        yield


class Watched(ShardedStrategy):
    """Fails where the optimiser has whole weights, or weights elsewhere than on the GPU."""

    def optimizer_step(self, *args: object, **kwargs: object) -> object:
        for group in self.optimizers[0].param_groups:
            for parameter in group["params"]:
                assert isinstance(parameter, DTensor)
                assert parameter.to_local().is_cuda
        return super().optimizer_step(*args, **kwargs)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize(
    ("knobs", "tolerance"),
    [
        (("precision=fp32",), 1e-4),
        (("precision=fp32", "model=efficientnet_lite0", "optimizer=adamw"), None),
        (("precision=fp32", "trainer.gradient_clip_val=0.1", "ema=0.5"), 1e-4),
        (("precision=bf16", "model=resnet50"), 1e-2),
        (("precision=bf16", "optimizer=adam", "lr=0.0001", "head=mixture", "loss=nll"), None),
    ],
)
def test_a_step_is_the_same_as_without(
    meeting: Path, knobs: tuple[str, ...], tolerance: float | None
) -> None:
    usual = train.run(tiny_config(*ONE_STEP, *knobs, "study=usual"))
    with sharded(meeting):
        divided = train.run(tiny_config(*ONE_STEP, *knobs, "study=divided"))
    expected, found = weights(usual.folder), weights(divided.folder)
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        # Adam's first step is lr in the direction of a sign, which rounding decides near zero.
        if tolerance is not None:
            torch.testing.assert_close(
                found[key].cpu(), weight.cpu(), rtol=tolerance, atol=tolerance / 10
            )
        assert found[key].dtype == weight.dtype


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_to_the_same_numbers_and_one_process_can_go_on_from_it(
    meeting: Path, precision: str
) -> None:
    knobs = (f"precision={precision}", "batch_size=12", "augmentation=crop", "ema=0.9")
    with sharded(meeting):
        whole = train.run(tiny_config(*knobs, "study=whole"))
        stopped_after_one_epoch(*knobs, "study=killed")
        assert_same_run(whole.folder, train.run(tiny_config(*knobs, "study=killed")).folder)
        stopped_after_one_epoch(*knobs, "study=alone")
    alone = train.run(tiny_config(*knobs, "study=alone"))
    assert alone.resumed_epoch == 1


def stopped_after_one_epoch(*knobs: str) -> None:
    def stop(epoch: int, _: object) -> None:
        if epoch == 2:  # after the checkpoint of the first one
            raise ProcessLost("as if one had been killed")

    with pytest.raises(ProcessLost):
        train.run(tiny_config(*knobs), on_epoch=stop)
