"""MedMNIST: npz files of small images."""
