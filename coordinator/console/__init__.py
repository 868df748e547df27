"""What people look at: the report page and the progress of a round."""
