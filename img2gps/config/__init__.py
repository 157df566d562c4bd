"""What one run is: the typed schema of `conf/`, composing it, and messages about it."""
