"""Data: recording, collecting and exporting episodes; what training learns from; images on their way to a network."""
