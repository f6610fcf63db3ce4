"""The drawn images, so that everything can be tried without a download."""
