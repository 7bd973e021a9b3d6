"""Privileged scripted policies and their skills: the source of demonstrations."""
