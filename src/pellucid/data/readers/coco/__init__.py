"""COCO: annotations, frames, outlines and masks."""
