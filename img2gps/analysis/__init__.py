"""What runs and studies say: reading them, statistics, ranking, contrasts. Needs no torch."""
