"""Training networks, and looking into trained ones. Needs torch; never imports `mdkd.reporting`."""
