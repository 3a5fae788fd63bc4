"""Readers of traces and labels that others wrote: each turns one line of JSON into what the scorer takes."""
