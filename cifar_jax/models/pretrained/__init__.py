"""Published weights of other libraries: files, names, and what each of them was trained with."""
