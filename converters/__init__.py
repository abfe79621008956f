"""Converts trained models to packages and proves the compiled models exact."""
