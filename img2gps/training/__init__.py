"""The model and its training: data loading, augmentation, network, loss, metrics, weights, loop."""
