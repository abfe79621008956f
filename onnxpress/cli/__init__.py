"""Shared by all commands: options and errors, output as text and JSON, the live line."""
