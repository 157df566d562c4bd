"""From photos to a data set: positions, pixels, the cache, and the split."""
