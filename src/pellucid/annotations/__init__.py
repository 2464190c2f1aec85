"""What people say of images: marks, answers and notes; their store, and files in and out."""
