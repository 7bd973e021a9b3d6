"""Scripted experts for ALOHA's two tasks: poses -> joint goals by inverse kinematics -> smooth absolute actions."""
