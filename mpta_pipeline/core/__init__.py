"""The foundations of all packages: errors, hashing, storage, named SQL, table schemas and configuration files."""
