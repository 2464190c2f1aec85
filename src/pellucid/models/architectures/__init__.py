"""The networks that Pellucid builds itself."""
