"""Train networks and analyse trained ones. This needs torch and never imports `mdkd.reporting`."""
