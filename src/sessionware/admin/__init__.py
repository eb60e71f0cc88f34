"""The administrators' endpoints of the proxy."""
