"""Training: the small VLA from nothing or from a checkpoint; OpenVLA-OFT by LoRA."""
