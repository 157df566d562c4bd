"""Runs that take a second or two: what many test modules train."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from img2gps.config.compose import load_config, register_sweeps
from img2gps.config.schema import Config
from img2gps.core.paths import package_folder

TINY = (
    "data=quad_tiny",
    "data.n=48",
    "image_size=64",
    "split.n_val=12",
    "max_epochs=2",
    "threads=1",
    "weights=none",
    "logger=csv",
    "baselines=false",
    "trainer.progress_bar=false",
)


def config(*overrides: str) -> Config:
    """The configuration of these overrides, as on the command line."""
    register_sweeps()
    folder = str(package_folder("conf"))
    with initialize_config_dir(folder, version_base="1.3"):
        return load_config(compose("train", overrides=list(overrides)))


def tiny_config(*overrides: str) -> Config:
    """The configuration of a tiny run, with overrides as on the command line."""
    return config(*TINY, *overrides)
