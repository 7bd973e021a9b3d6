"""Data: images on their way to a network, training sets."""
