"""Where the recipe that `fit` takes by itself stands: beside other libraries' first examples, on real data of every kind."""
