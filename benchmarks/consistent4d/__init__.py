"""Consistent4D: seven objects, four novel views. Its pictures are downloaded by the user; see README.md."""
