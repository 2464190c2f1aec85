"""What training minimises: task losses, adversarial images, gradient penalties, annotations, and the module that adds them up."""
