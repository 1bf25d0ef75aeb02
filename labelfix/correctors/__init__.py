"""Methods that judge labels, all behind the two-step protocol of `interface`."""
