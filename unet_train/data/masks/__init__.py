"""What the pixels of a mask mean: class ids, colours, grey levels, objects; arrays in, class maps out."""
