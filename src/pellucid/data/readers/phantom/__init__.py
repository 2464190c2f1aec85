"""The phantom: anatomy, chest, findings, and the scenes that they make."""
