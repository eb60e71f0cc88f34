"""`sessionware proxy`, deployed alone: the server around the proxy, its protection, its probes and its end."""
