"""What a classifier goes by on many images, found without anybody's label of it: suspects, each tested."""
