"""The CPU-scale model: the contract of OpenVLA-OFT, some thousand times cheaper."""
