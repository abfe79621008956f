"""Turns a trained model into a package, and proves that the compiled model is the same model."""

from converters.convert import convert
from converters.family import ConversionRefused
from converters.package import Package

__all__ = ["ConversionRefused", "Package", "convert"]
