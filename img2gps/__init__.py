"""img2gps: hyperparameter sweeps for visual geolocation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2gps.inference.localizer import Localizer

__all__ = ["Localizer", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `Localizer` when it is asked for, so that `import img2gps` loads no torch."""
    if name == "Localizer":
        from img2gps.inference.localizer import Localizer

        return Localizer
    raise AttributeError(f"module 'img2gps' has no attribute {name!r}")
