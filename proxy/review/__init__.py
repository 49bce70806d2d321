"""Reviewing policies: expectations, explanations, and what would change. Pure but for what the commands read."""
