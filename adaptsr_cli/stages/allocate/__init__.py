"""Stage `allocate`: a parameter budget spent on ranks."""
