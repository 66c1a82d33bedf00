"""The HTTP API: closed by default, one shape for every error, nothing acknowledged uncommitted."""
