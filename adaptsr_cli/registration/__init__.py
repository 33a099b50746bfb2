"""Bringing two photographs of one scene, taken at two focal lengths, onto each other. Arrays in, arrays out."""
