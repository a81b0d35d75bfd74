"""The process that checks an adapter which was trained elsewhere, and packs it as a job's own."""
