"""What the device and the model allow."""
