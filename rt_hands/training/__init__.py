"""Networks, data, losses, training and export. Needs torch; nothing outside this package imports it."""
