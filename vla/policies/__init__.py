"""Policy implementations: Observation -> ActionChunk."""
