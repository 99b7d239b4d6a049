"""What the pages on this machine share: who may open one, and how one is served. Used by the desk and the console."""
