"""Several sizes in one comparison: `blockyard.compare(["llama", "gla"], params="100k,300k,1M")`."""
