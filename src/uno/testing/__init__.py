"""What tests of uno and of applications on uno share."""
