"""Learning: images, backbone, features, probe and what training recorded."""
