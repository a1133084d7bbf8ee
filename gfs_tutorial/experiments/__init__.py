"""The experiments of the book: settings, presets and the functions that run them."""
