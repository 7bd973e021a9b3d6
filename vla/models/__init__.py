"""Neural networks: tensors in, tensors out. No files, no images, no units of a robot."""
