"""What `make setup` is made of; see `tools/bootstrap.py`. Standard library only."""
