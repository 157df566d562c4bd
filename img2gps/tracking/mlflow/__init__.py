"""Mirrors of runs in MLflow: one parent run a study, its runs as children, its winner a model."""
