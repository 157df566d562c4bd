"""Studies: many runs that make one answer."""
