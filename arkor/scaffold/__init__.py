"""New projects: which files a template has, and how they get into a folder that may have some already."""
