"""What the site needs beside Sphinx, one file per task; docs/conf.py lists them."""
