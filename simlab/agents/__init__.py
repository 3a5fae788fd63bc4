"""Agents to calibrate by: each plays the assistant in one known way, and what it may pass is known too."""
