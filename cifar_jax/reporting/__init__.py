"""Pictures of data and runs, and the report page; one function per picture."""
