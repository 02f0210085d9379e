"""What is wrong with a data folder, shown as a page, and the fixes that it proposes."""
