"""Using a finished run: predictions for photos, and scores on photos that it has never seen."""
