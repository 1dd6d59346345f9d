"""Facts written down by hand from Salesforce's own documents, for tests to compare the code with; nothing here is derived from it."""
