"""What an image shows: in windows of the frame, in numbers of these, and in statistics of the whole."""
