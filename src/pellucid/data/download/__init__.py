"""How datasets are published, and fetching them: resumed, checked, unpacked safely."""
