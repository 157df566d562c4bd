"""Errors, geometry, files, processes and hardware: what every part uses and no part changes."""
