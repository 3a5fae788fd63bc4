"""Models: one way to reach a language model each; a function from the rest of a spec to a Model."""
