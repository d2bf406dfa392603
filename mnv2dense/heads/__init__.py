"""What turns features into boxes, masks or classes."""
