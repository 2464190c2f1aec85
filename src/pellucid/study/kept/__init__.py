"""What a study keeps of its networks in small files: to go on from, and to be judged again."""
