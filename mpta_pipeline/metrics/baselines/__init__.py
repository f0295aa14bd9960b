"""What estimates are compared with: ceilings, retests and the people's own shares."""
