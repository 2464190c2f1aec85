"""Heat maps certified cell by cell under noise, and the same cells attacked: an explanation between two bounds."""
