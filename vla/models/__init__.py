"""Neural networks: tensors in, tensors out. Their checkpoints are read and written here too."""
