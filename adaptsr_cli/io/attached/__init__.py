"""What files say of their pictures beside the pixels: read, kept right for a larger picture, and written."""
