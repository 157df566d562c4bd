"""The `img2gps` commands, one module each."""
