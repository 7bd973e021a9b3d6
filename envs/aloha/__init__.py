"""gym-aloha's two bimanual tasks with true limits and units, by plain MuJoCo."""
