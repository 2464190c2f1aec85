"""Images with their explanations as pictures."""
