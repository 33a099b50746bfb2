"""Stage ``pair``: training pairs from photographs of one scene at two focal lengths."""
