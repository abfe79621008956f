"""From trained models to packages that are proved equal."""
