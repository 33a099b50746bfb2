"""What a camera does to its pictures, as models of few numbers, and how to estimate those from photographs."""
