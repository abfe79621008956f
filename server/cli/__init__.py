"""The commands of the server room."""
