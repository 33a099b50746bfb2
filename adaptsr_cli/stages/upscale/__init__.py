"""Stage `upscale`: images and folders upscaled by one model."""
