"""Exports: one interchange format each; a function from a stored record to the object of one line."""
