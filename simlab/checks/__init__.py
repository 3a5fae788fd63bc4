"""Checks: does a line say what it should? One small file each; a check returns the code of a fault, or None."""
