"""Recipes: one published method each. To add one, copy a file, change it, run the tests; nothing else to edit."""
