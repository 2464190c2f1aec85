"""CIFAR-10: the binary and the python version, and a zip of class folders."""
