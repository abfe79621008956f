"""What every command shares: options and errors, the output for people and programs, the live line."""
