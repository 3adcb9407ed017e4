"""Array operations that models are built of: one function, one meaning, any platform."""
