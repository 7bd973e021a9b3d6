"""Recorded episodes on disk as a LeRobotDataset v3.0: a crash-safe writer and a strict reader. No torch."""
