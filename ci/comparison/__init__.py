"""The comparison of a challenger with the champion on the same rows, before it is deployed."""
