"""Does anyone train the same network faster than `steepest fit`? Peers in their own environments, in turns, by two clocks."""
