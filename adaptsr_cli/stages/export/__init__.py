"""Stage `export`: the adapted network in the file formats of other programs."""
