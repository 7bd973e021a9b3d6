"""OpenVLA-OFT (arXiv 2502.19645): two vision towers, a Llama trunk, and all actions of a chunk decoded in one pass.

The parameters carry the names of the released checkpoints, so that a checkpoint can be read with the eye.
"""
