"""What training minimises: task losses, adversarial images, gradient penalties, annotations, and their sum."""
