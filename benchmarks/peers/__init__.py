"""Does anyone train the same network faster than `steepest fit`? Peers in environments of their own, in turns, by two clocks."""
