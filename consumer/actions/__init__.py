"""Sales Engagement actions: typed inputs, validation, results and the client."""
