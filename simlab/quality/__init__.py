"""Quality: measures over many records."""
