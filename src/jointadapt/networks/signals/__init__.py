"""Small networks for signals, rows (channels, time): one file a network, each a function of the row's shape."""
