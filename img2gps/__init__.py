"""img2gps: hyperparameter sweeps for visual geolocation."""

__version__ = "0.1.0"
