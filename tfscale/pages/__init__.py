"""Reports of one kind each, by `tfscale.report`: what a result looks like as an HTML file."""
