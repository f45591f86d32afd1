"""pylstm inside of other libraries' programs, a package for each. Imported only by who asks."""
