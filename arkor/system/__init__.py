"""Files, folders and processes of this machine: written whole or not at all, found, upgraded."""
