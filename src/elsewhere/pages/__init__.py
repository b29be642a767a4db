"""What a person reads: figures, the reports and the viewer. Numbers in, files out."""
