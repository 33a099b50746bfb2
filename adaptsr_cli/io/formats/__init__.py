"""Formats of image files: one module for each library that reads or writes them, and the table of all of them."""
