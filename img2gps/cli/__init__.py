"""The `img2gps` command."""
