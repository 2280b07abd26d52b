"""What people look at: figures, safe tables and token heat maps."""
