"""Several runs side by side: a table, curves, and how sure a difference is."""
