"""A study: its file, its folder, the records in it and whether they still fit each other."""
