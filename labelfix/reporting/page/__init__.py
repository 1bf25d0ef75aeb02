"""The page: one HTML file that shows a run with its images; nothing in it asks for anything from elsewhere."""
