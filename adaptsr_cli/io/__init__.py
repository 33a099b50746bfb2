"""Files: images, tensors, typed documents, atomic writes."""
