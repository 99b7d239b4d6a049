"""The craft: shapes, splines, trackers, the network, prediction. Pure of network and database."""
