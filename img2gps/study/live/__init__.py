"""The page that follows a running study, served on this machine from the study's files alone."""
