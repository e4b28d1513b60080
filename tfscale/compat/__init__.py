"""The private parts of other libraries that tfscale depends on, one file for each library."""
