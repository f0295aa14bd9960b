"""What every room stands on: errors, hashing, storage, named SQL, table schemas and configuration files."""
