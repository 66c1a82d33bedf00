"""Intent: what a text asks for."""
