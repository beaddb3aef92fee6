"""One script a question; ``results/`` holds the committed tables."""
