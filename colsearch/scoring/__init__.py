"""What does a document score? MaxSim over the stored codes of a snapshot, on the CPU or on a torch device, and what that costs."""
