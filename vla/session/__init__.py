"""A session: policy, people, robot or simulation in one loop, with everything on record; and its replay."""
