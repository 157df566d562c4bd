"""The model and its training: data loading, augmentation, network, loss, metrics, weights, loop."""

# Raise it when a change of the code is meant to change the numbers of a run. From 2 on it is part
# of every run id, so that results of older code are not returned as those of the new code.
TRAINING_VERSION = 1
