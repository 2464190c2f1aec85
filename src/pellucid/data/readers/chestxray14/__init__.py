"""ChestX-ray14: tables, box list, official parts."""
