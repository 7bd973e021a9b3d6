"""Simulation behind `gymnasium.Env`. Knows vla.types and vla.protocols only."""
