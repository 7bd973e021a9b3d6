"""The policy side: types, policies, the control loop and evaluation. Knows no simulator and no robot."""
