"""What the handbook needs beside Sphinx and MyST."""
