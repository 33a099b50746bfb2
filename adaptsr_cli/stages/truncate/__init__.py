"""Stage `truncate`: a smaller adapter made of a trained one."""
