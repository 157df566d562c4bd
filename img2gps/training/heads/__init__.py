"""Heads: from the backbone's features of a photo to its scaled position.

A *trained* head (linear, mlp, cells, mixture, metric) learns by gradient descent. A *solved* head
(knn, ridge, kernel_ridge, local_ridge, match) is computed at once from the features and positions
of the training photos, and its settings are chosen there as well.
"""
